"""A budget of bytes or pixels, so that memory is bounded by what images weigh and not their count.

Whoever holds an image holds a room of the budget with it, from thread to thread.
"""

import threading
from collections.abc import Callable

LOOK_SECONDS = 1.0

TakeUpTo = Callable[[int], bool]
"""Enlarges a room to so many bytes in all, without waiting; False when there is no room for it."""


class Budget:
    """Shared by threads; what is larger than all of it waits until nothing else is held."""

    def __init__(self, most: int):
        self.most = most
        self._held = 0
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """What is lent at the moment."""
        return self._held

    def room(self) -> "Room":
        """An empty one."""
        return Room(self)

    def resize(self, old: int, new: int, is_worth_waiting: Callable[[], bool]) -> bool:
        """Exchanges what a room holds; False when it does not fit, or not while worth waiting."""

        def fits() -> bool:
            others = self._held - old
            return new <= old or not others or others + new <= self.most

        with self._changed:
            while not fits():
                if not is_worth_waiting():
                    return False
                self._changed.wait(LOOK_SECONDS)
            self._held += new - old
            if new < old:
                self._changed.notify_all()
            return True


class Room:
    """A part of a budget, until it is released. To be forgotten releases it too, as a last net:
    tracebacks and queues may remember longer than anybody thinks."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self.size = 0

    def take(self, size: int, is_worth_waiting: Callable[[], bool] = lambda: True) -> bool:
        """Waits until so much may be held, or it is not worth it any more; only for an empty room.

        Two that each hold a part and wait for the rest would wait for ever.
        """
        assert not self.size
        if not self._budget.resize(0, size, is_worth_waiting):
            return False
        self.size = size
        return True

    def take_up_to(self, size: int) -> bool:
        """Holds at least so much, at once or not at all."""
        if size > self.size:
            if not self._budget.resize(self.size, size, lambda: False):
                return False
            self.size = size
        return True

    def shrink(self, size: int) -> None:
        """Gives back what is held beyond `size`."""
        if size < self.size:
            self._budget.resize(self.size, size, lambda: False)
            self.size = size

    def release(self) -> None:
        self.shrink(0)

    def __del__(self) -> None:
        self.release()
