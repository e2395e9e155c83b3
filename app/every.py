"""Something to do again and again while a long loop goes on, such as renewing a lease."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

_Result = TypeVar("_Result")


class Every:
    """Does something when that many seconds have passed since the last time."""

    def __init__(self, seconds: float, action: Callable[[], None]):
        self._seconds = seconds
        self._action = action
        self._last = time.monotonic()

    def when_due(self) -> None:
        if time.monotonic() - self._last > self._seconds:
            self._act()

    def was_done(self) -> None:
        """It was, by other means; it is due that many seconds from now."""
        self._last = time.monotonic()

    def during(self, call: Callable[[], _Result]) -> _Result:
        """What the call returns, in a thread of its own; the same is done for as long as it takes.

        Raises what the action raised, once the call has ended, before what the call raised.
        """
        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(call)
            while not wait([calling], self._seconds).done:
                self._act()
        return calling.result()

    def _act(self) -> None:
        self._action()
        self.was_done()
