"""Files that a user of the terminal gets: whole or not at all, with the rights that the umask says.

Called by both commands.
"""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from app.storage.local import sync_folder


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a file, durably, in the place of one that was there. Raises OSError."""
    draft = path.with_name(f".tmp-{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
