"""What a process and its children use, from /proc: processor time, and memory.

The private MongoDB server is a child of the service, and counted apart from it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
DATABASE = "mongod"


@dataclass(frozen=True)
class Cpu:
    """User and system seconds since the start, ended children included."""

    service_seconds: float
    database_seconds: float


def cpu(pid: int) -> Cpu:
    seconds = {True: 0.0, False: 0.0}
    for process, is_database in _tree(pid).items():
        seconds[is_database] += _cpu_seconds(process)
    return Cpu(seconds[False], seconds[True])


def resident_mb(pid: int) -> float:
    """Of the service and its children without the database."""
    return _memory_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """The sum of each one's highest; an upper bound where there are several."""
    return _memory_mb(pid, "VmHWM")


def _memory_mb(pid: int, field: str) -> float:
    own = [process for process, is_database in _tree(pid).items() if not is_database]
    return sum(_status_kib(process, field) for process in own) / 1024


def _tree(pid: int) -> dict[int, bool]:
    """The process and all below it; whether each belongs to the database."""
    found: dict[int, bool] = {}
    waiting = [(pid, False)]
    while waiting:
        process, is_database = waiting.pop()
        try:
            is_database |= Path(f"/proc/{process}/comm").read_text().strip() == DATABASE
            tasks = list(Path(f"/proc/{process}/task").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[process] = is_database
        waiting += [(child, is_database) for task in tasks for child in _children(task)]
    return found


def _children(task: Path) -> list[int]:
    try:
        return [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu_seconds(pid: int) -> float:
    """proc(5), stat: utime, stime, cutime and cstime are the fields 14 to 17."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


def _status_kib(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
