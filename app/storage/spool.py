"""Temporary files for a storage whose own are elsewhere, on a disk that keeps its room.

Called by `s3`: for what is written before it is sent, and for what was fetched to be read.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.errors import StorageUnavailable
from app.scratch import disk_errors, scratch_file


class Spool:
    """Makes files in `folder`, unless its disk has fewer than `min_free_bytes` free."""

    def __init__(self, folder: Path, min_free_bytes: int):
        self._folder = folder
        self._min_free_bytes = min_free_bytes

    def file(self) -> BinaryIO:
        """An empty file, gone when it is closed. Raises StorageUnavailable."""
        with disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
        return scratch_file(self._folder)

    def file_of(self, chunks: Iterable[bytes], size: int) -> BinaryIO:
        """A file with so many bytes, to be read from its start. Raises StorageUnavailable."""
        self.check_room(size)
        file = self.file()
        try:
            for chunk in chunks:
                with disk_errors():
                    file.write(chunk)
            with disk_errors():
                file.seek(0)
        except BaseException:
            with suppress(OSError):  # it flushes what the full disk refused
                file.close()
            raise
        return file

    def check_room(self, size: int = 0) -> None:
        """Raises StorageUnavailable when so many bytes more would take too much."""
        with disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self._folder).free - size
        if free_bytes < self._min_free_bytes:
            raise StorageUnavailable(
                f"the disk of temporary files in DATA_DIR has {free_bytes:,} bytes free, "
                f"fewer than MIN_FREE_BYTES={self._min_free_bytes}; make room or lower it"
            )
