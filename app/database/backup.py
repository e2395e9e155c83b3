"""Backup and restore of the private server's data, as one compressed tar file.

    python -m app.database.backup save FILE      while the service runs, or not
    python -m app.database.backup restore FILE   while it does not run

The images lie in `UPLOAD_DIR`, `PROCESSED_DIR` and `OUTPUT_DIR`, as plain files that never change:
copy them after the database, with any tool. With `MONGODB_URI` set, use `mongodump`.
"""

import argparse
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient

from app.config import read_settings
from app.database.private_server import PrivateServer
from app.errors import PressroomError, SettingsError

FILES = "mongodb/files"
"""Where in `DATA_DIR` the private server keeps its data."""


def save(data_dir: Path, archive: Path) -> None:
    """Writes the data, as of one moment, into `archive`; the service's writes wait meanwhile."""
    client: MongoClient[dict[str, object]]
    with _running(data_dir) as uri, MongoClient(uri) as client:
        client.admin.command("fsync", lock=True)
        try:
            with tarfile.open(archive, "w:gz") as tar:
                tar.add(data_dir / FILES, arcname="files", filter=_without_lock)
        finally:
            client.admin.command("fsyncUnlock")


def restore(data_dir: Path, archive: Path) -> Path | None:
    """Puts the saved data in place of today's, which stays beside it; returns where, if there was.

    Raises Conflict while the service runs.
    """
    with PrivateServer(data_dir).kept_from_running():
        files = data_dir / FILES
        unpacked = files.with_name("files.restoring")
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):  # Debian 12's Python, 3.11.2, has none yet
                tar.extraction_filter = tarfile.data_filter
            tar.extractall(unpacked)  # noqa: S202 (a file that the operator has saved himself)
        before = None
        if files.exists():
            before = files.rename(files.with_name(f"files.before-{int(time.time())}"))
        (unpacked / "files").rename(files)
        unpacked.rmdir()
        return before


@contextmanager
def _running(data_dir: Path) -> Iterator[str]:
    server = PrivateServer(data_dir)
    try:
        yield server.start()
    finally:
        server.stop()


def _without_lock(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if member.name.endswith("mongod.lock") else member


def main() -> int:
    parser = argparse.ArgumentParser(description="Backup of the private MongoDB server's data")
    parser.add_argument("action", choices=["save", "restore"])
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    try:
        settings = read_settings()
        if settings.mongodb_uri.get_secret_value():
            raise SettingsError("MONGODB_URI is set: use mongodump and mongorestore there")
        if arguments.action == "save":
            save(settings.data_dir, arguments.file)
        elif before := restore(settings.data_dir, arguments.file):
            sys.stdout.write(f"What was there before is in {before.name}, beside the new files\n")
    except (PressroomError, OSError, tarfile.TarError) as error:
        sys.stderr.write(f"{arguments.action} failed: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
