"""What the walkers of image containers share: how to read a number, and how they give up.

In: a whole file and a place in it. Called by `containers` and `avif_boxes`.
"""

from typing import Literal

Part = tuple[int, int, int]
Parts = list[bytes | memoryview]


class Unwalkable(ValueError):
    """The container is not laid out as its format says, or in a way that is not rewritten."""


class Cut(Unwalkable):
    """The file ends before its container does."""


def number(source: bytes, at: int, length: int, order: Literal["big", "little"] = "big") -> int:
    """An unsigned number of `length` bytes; raises Cut where the file has fewer."""
    if at + length > len(source):
        raise Cut(f"the file ends at byte {len(source)}")
    return int.from_bytes(source[at : at + length], order)


def slice_of(source: bytes, start: int, end: int) -> memoryview:
    """A part of the file that is not copied."""
    return memoryview(source)[start:end]
