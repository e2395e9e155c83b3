"""The threads that code, as many as cores: more would only slow each other down.

Called by `segment_run`, from the threads that fetch.
"""

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

AHEAD = 2
"""Images that wait for each thread, so that none is idle; more would only be held in memory."""


class Coders:
    """A thread pool whose queue is short: whoever brings more waits."""

    def __init__(self, threads: int):
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="coder")
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()  # cheaper than a Semaphore
        for _ in range(threads * (1 + AHEAD)):
            self._permits.put(None)

    @property
    def busy(self) -> int:
        """How many threads have an image."""
        submitted = self._threads * (1 + AHEAD) - self._permits.qsize()
        return min(submitted, self._threads)

    def submit(self, work: Callable[[], None]) -> None:
        """Waits for a place in the queue, and runs `work`, which must not raise, in turn.

        After the stop it is not run any more.
        """
        self._permits.get()
        with suppress(RuntimeError):
            self._pool.submit(self._run, work)

    def stop(self) -> None:
        """What was submitted is still done."""
        self._pool.shutdown(wait=False)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._permits.put(None)
