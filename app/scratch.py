"""Temporary files without a name: nothing is left of them, however their process ends.

Called where something must be whole before its first byte can be sent or judged. They lie in the
folder that the server has chosen for such files, beside the data.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from app.errors import StorageUnavailable

STALE_SECONDS = 86_400
_PREFIX = "workbook-"


def scratch_file(folder: Path | None = None) -> BinaryIO:
    """An empty file, gone when it is closed. Raises StorageUnavailable."""
    with disk_errors():
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a library that wants names; what killed processes left of such goes first."""
    _remove_stale(Path(tempfile.gettempdir()))
    with disk_errors():
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # another thread was done with it
            if folder.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Whatever the disk refuses inside is StorageUnavailable: it is full, or gone."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"the disk refuses: {error.strerror}") from error
