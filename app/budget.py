"""A budget of bytes, so that memory is bounded by what images weigh and not only by their count."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Reserve = Callable[[int], None]
"""Waits until so many bytes more may be held."""


class ByteBudget:
    """Shared by threads; what is larger than all of it waits until nothing else is held."""

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._changed = threading.Condition()

    @contextmanager
    def holding(self) -> Iterator[Reserve]:
        """What is reserved inside is given back at the end.

        Reserve once and all at once: two that each hold a part and wait for the rest wait for ever.
        """
        reserved = 0

        def reserve(size_bytes: int) -> None:
            nonlocal reserved
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        not self._held_bytes or self._held_bytes + size_bytes <= self._most_bytes
                    )
                )
                self._held_bytes += size_bytes
            reserved += size_bytes

        try:
            yield reserve
        finally:
            with self._changed:
                self._held_bytes -= reserved
                self._changed.notify_all()
