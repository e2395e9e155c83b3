"""Leases by the server's clock: who holds a piece of work, and until when."""

import os
import socket
from functools import cache
from pathlib import Path
from typing import Any

LEASE_SECONDS = 15
"""A holder that has not renewed for so long has lost its claim."""

ORPHAN_SECONDS = 2 * LEASE_SECONDS
"""A file that is older and unnamed stays so: whoever wrote it has lost its claim."""

IS_EXPIRED = {"$expr": {"$lt": ["$lease_expires_at", "$$NOW"]}}


def lease(seconds: float = LEASE_SECONDS) -> dict[str, Any]:
    """An aggregation expression: that many seconds from the server's now."""
    milliseconds = int(seconds * 1000)
    return {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": milliseconds}}


def claimant(pid: int | None = None) -> dict[str, Any]:
    """Who this process is, so that a start on the same host can tell that it has died.

    A pid alone is reused and means nothing in another container, hence boot, namespace and start.
    """
    pid = os.getpid() if pid is None else pid
    return {"host": _host(), "pid": pid, "started": _start_time(pid)}


def is_dead(claim: dict[str, Any]) -> bool:
    """True only when the claimant ran on this host, since its boot, and certainly runs no more."""
    is_here = claim["host"] == _host()
    return is_here and bool(claim["started"] != _start_time(claim["pid"]))


@cache
def _host() -> str:
    """Host name, boot and pid namespace in one word each."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = "none"
    return f"{socket.gethostname()} {_boot_id()} {namespace}"


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "none"


def _start_time(pid: int) -> str | None:
    """Clock ticks after boot at which the process began (proc(5), field 22); None without one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]
