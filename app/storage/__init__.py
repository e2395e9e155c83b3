"""Where files are kept: what arrives, what is made of it, what is handed out.

A key is a path such as `processed/<request_id>/<name>`; its first part names the area (`uploads`,
`processed` or `outputs`). Files are written once and never changed.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class Copy:
    """A file is to be had under another key too; `size_bytes` is what it must have."""

    source: str
    key: str
    size_bytes: int


def nothing() -> None:
    """What is done meanwhile, unless somebody has something to do."""


class Storage(Protocol):
    """Files by key. Every method may be called from many threads at once."""

    def create(self, folder: str) -> AbstractContextManager[BinaryIO]:
        """An empty temporary file with a descriptor, for a later `put` into that folder.

        It is nobody's until it is put, and gone when the context ends. Raises StorageUnavailable,
        also for an OSError inside the context: the disk is full.
        """

    def put(self, key: str, file: BinaryIO) -> None:
        """Makes a file from `create` durable under its key, all of it or nothing.

        A key names its content, so putting it again does no harm. Raises StorageUnavailable.
        """

    def put_all(self, files: Mapping[str, bytes], meanwhile: Callable[[], None] = nothing) -> None:
        """As `put`, for many small files by key: together they wait for the disk only once.

        `meanwhile` is called between files, and while a bucket lets wait, so that a claim may be
        held however many there are. What it raises is raised once none is being written any more.
        """

    def copy_all(self, copies: Iterable[Copy], meanwhile: Callable[[], None] = nothing) -> set[str]:
        """Gives files further keys, as durably as `put_all`; each is a file of its own then.

        The keys that are there now: those of sources that are gone, or have another size, are not.
        A key that is there already stays as it is. Raises StorageUnavailable.
        """

    def open(self, key: str) -> BinaryIO:
        """The file, seekable and on this machine. Raises NotFound, StorageUnavailable."""

    def has(self, key: str) -> bool:
        """Whether it can be opened, without reading it. Raises StorageUnavailable."""

    def open_each(self, keys: Iterable[str]) -> Generator[tuple[str, BinaryIO | None], None, None]:
        """Each key with its file as from `open`, in order, which the caller closes; None: gone.

        Keys are taken a few ahead, where opening takes time. Raises StorageUnavailable.
        """

    def delete(self, key: str) -> None:
        """Removes a file, or a folder with all in it; a missing one is as good as removed."""

    def find_older(self, folder: str, age_seconds: float) -> Iterator[str]:
        """Keys below a folder, leftover temporary files among them, not changed for that long."""

    def check_room(self) -> None:
        """Raises StorageUnavailable, saying why, while nothing more should be written."""

    def try_out(self) -> None:
        """Writes something and removes it. Raises StorageUnavailable, saying what to do."""
