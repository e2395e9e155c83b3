"""The threads that code, as many as cores: more would only slow each other down.

Called by `under_way`, from the threads that fetch.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

Work = Callable[[], None]

log = structlog.get_logger(__name__)

AHEAD = 2
"""Images that wait for each thread, so that none is idle; more would only be held in memory."""


class Coders:
    """A thread pool with a short queue: whoever brings more waits."""

    def __init__(self, threads: int):
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="coder")
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        self._running = 0
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()  # cheaper than a Semaphore
        for _ in range(threads * (1 + AHEAD)):
            self._permits.put(None)

    @property
    def busy(self) -> int:
        """How many threads have an image."""
        return self._running

    def submit(self, work: Work) -> None:
        """Waits for a place in the queue, and runs `work`, which must not raise, in turn.

        After the stop it may not be run any more.
        """
        self._permits.get()
        with self._lock:
            self._waiting.append(work)
            if self._running == self._threads:
                return
            self._running += 1
        with suppress(RuntimeError):  # after the stop: what waits is nobody's any more
            self._pool.submit(self._run)

    def stop(self) -> None:
        """What was submitted is still done."""
        self._pool.shutdown(wait=False)

    def _run(self) -> None:
        """One after the other, without a future for each."""
        while work := self._next():
            try:
                work()
            except Exception:  # the edge of the thread: its place must not be lost
                log.exception("coding failed")
            self._permits.put(None)

    def _next(self) -> Work | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._running -= 1
            return None
