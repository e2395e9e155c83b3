"""Something to do again and again while a long loop goes on, such as renewing a lease."""

import time
from collections.abc import Callable


class Every:
    """Does something when that many seconds have passed since the last time."""

    def __init__(self, seconds: float, action: Callable[[], None]):
        self._seconds = seconds
        self._action = action
        self._last = time.monotonic()

    def when_due(self) -> None:
        if time.monotonic() - self._last > self._seconds:
            self._action()
            self._last = time.monotonic()
