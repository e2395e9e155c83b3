"""Temporary files without a name: nothing is left of them, however their process ends.

Called where something must be whole before its first byte can be sent or judged. They lie in the
folder that the server has chosen for such files, beside the data.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from app.errors import StorageUnavailable


def scratch_file() -> BinaryIO:
    """An empty file, gone when it is closed. Raises StorageUnavailable."""
    with disk_errors():
        return cast(BinaryIO, tempfile.TemporaryFile())


@contextmanager
def disk_errors() -> Iterator[None]:
    """Whatever the disk refuses inside is StorageUnavailable: it is full, or gone."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"the disk refuses: {error.strerror}") from error
