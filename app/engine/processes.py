"""The engine beside the web process: worker processes, each with its own thread pools.

A worker is told segment ids on its standard input, and ends when that closes: so none outlives the
service, however it dies. One that dies is started again.
"""

import os
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress

import structlog

from app.config import PROJECT_DIR
from app.models import SEGMENT_ROWS

RESTART_SECONDS = 0.2
MOST_RESTART_SECONDS = 5
STOP_SECONDS = 19
"""A worker puts back what is unfinished in less; one that hangs is killed then."""

log = structlog.get_logger(__name__)


class ProcessEngine:
    """Keeps `count` worker processes running; `command` starts one."""

    def __init__(self, command: Sequence[str], count: int):
        self._workers = [_Worker(command, number) for number in range(count)]

    def submit(self, segment_id: str) -> None:
        """Always to the same worker, which knows what it has already."""
        self._workers[worker_of(segment_id, len(self._workers))].tell(segment_id)

    def check(self) -> None:
        """There is nothing between it and those who work."""

    def stop(self) -> None:
        for worker in self._workers:
            worker.close()
        give_up_at = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.join(max(0.0, give_up_at - time.monotonic()))


def worker_of(segment_id: str, workers: int) -> int:
    """In turn, so that each has as many of a request's segments (`<request_id>:<first_row>`).

    Of those that are shorter than most, several in a row go to the same worker.
    """
    request_id, _, first_row = segment_id.partition(":")
    return (zlib.crc32(request_id.encode()) + int(first_row) // SEGMENT_ROWS) % workers


def restart_wait(last_seconds: float, lived_seconds: float) -> float:
    """Seconds, each time twice as many for one that dies again at once; the least after a life."""
    if lived_seconds > MOST_RESTART_SECONDS:
        return RESTART_SECONDS
    return min(max(2 * last_seconds, RESTART_SECONDS), MOST_RESTART_SECONDS)


class _Worker:
    """One process and the thread that keeps it running."""

    def __init__(self, command: Sequence[str], number: int):
        self._command = list(command)
        self._number = number
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process = self._spawn()
        self._keeper = threading.Thread(target=self._keep, name=f"worker-{number}", daemon=True)
        self._keeper.start()

    def tell(self, segment_id: str) -> None:
        """A hint: what a dying worker misses, the sweeper says again."""
        with self._lock, suppress(OSError, ValueError):  # BlockingIOError: it has plenty to do
            assert self._process.stdin
            os.write(self._process.stdin.fileno(), f"{segment_id}\n".encode())

    def close(self) -> None:
        self._stopping.set()
        with self._lock, suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()

    def join(self, timeout_seconds: float) -> None:
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._keeper.join()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(  # noqa: S603 (no part of it comes from a caller)
            self._command, stdin=subprocess.PIPE, start_new_session=True, cwd=PROJECT_DIR
        )
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)  # one that hangs must not stop who tells it
        return process

    def _keep(self) -> None:
        wait_seconds = 0.0
        while True:
            begun_at = time.monotonic()
            code = self._process.wait()
            if self._stopping.is_set():
                return
            reason = signal.Signals(-code).name if code < 0 else f"exit {code}"
            log.warning("worker died", worker=self._number, reason=reason)
            wait_seconds = restart_wait(wait_seconds, time.monotonic() - begun_at)
            while not self._stopping.wait(wait_seconds) and not self._has_begun_again():
                wait_seconds = restart_wait(wait_seconds, 0)

    def _has_begun_again(self) -> bool:
        with self._lock:
            if self._stopping.is_set():
                return False
            with suppress(OSError):
                assert self._process.stdin
                self._process.stdin.close()
            try:
                self._process = self._spawn()
            except OSError as error:  # no memory, too many processes: it may pass
                log.warning("worker not started", worker=self._number, reason=str(error))
                return False
            return True
