"""Storage in local folders: temporary name, fsync, rename, fsync of the folder.

Raises StorageUnavailable for a full or vanished disk, so that no image is ever failed for it.
"""

import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from app.errors import NotFound, StorageUnavailable
from app.scratch import disk_errors
from app.storage import Copy, nothing

_TEMPORARY = ".tmp-"
_PROBE_BYTES = 65_536
"""On a full disk an empty file can still be made."""
_NO_LINK = {errno.EMLINK, errno.EPERM, errno.EXDEV, errno.ENOTSUP}


class LocalStorage:
    """Folders on this machine, one for each area.

    `areas` maps a key's first part to its folder; below `min_free_bytes` nothing more is written.
    """

    def __init__(self, areas: Mapping[str, Path], min_free_bytes: int):
        self._areas = areas
        self._min_free_bytes = min_free_bytes

    @contextmanager
    def create(self, folder: str) -> Iterator[BinaryIO]:
        path = self._path(folder)
        with disk_errors():
            self._make_folder(path)
            file = tempfile.NamedTemporaryFile(  # noqa: SIM115 (closed below)
                dir=path, prefix=_TEMPORARY, delete=False
            )
        try:
            with disk_errors():  # whoever writes into it meets the full disk
                yield cast(BinaryIO, file)
        finally:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()
            with suppress(OSError):  # it flushes what the full disk refused, and nobody wants
                file.close()

    def put(self, key: str, file: BinaryIO) -> None:
        path = self._path(key)
        with disk_errors():
            file.flush()
            os.fsync(file.fileno())
            if not path.exists():  # else it is there with the same bytes, and may be being read
                Path(file.name).rename(path)
            sync_folder(path.parent)

    def put_all(self, files: Mapping[str, bytes], meanwhile: Callable[[], None] = nothing) -> None:
        paths = {str(self._path(key)): content for key, content in files.items()}
        folders = {Path(path).parent for path in paths}
        with disk_errors(), ExitStack() as cleaning:
            for folder in folders:
                self._make_folder(folder)
            drafts = [Draft(path, cleaning) for path in paths]
            for draft in drafts:
                draft.write(paths[draft.path])
                meanwhile()
            for draft in drafts:  # once all are written: the disk takes them together
                os.fsync(draft.descriptor)
                meanwhile()
            for draft in drafts:
                draft.rename()
            for folder in folders:
                sync_folder(folder)

    def copy_all(self, copies: Iterable[Copy], meanwhile: Callable[[], None] = nothing) -> set[str]:
        """By hard links: no byte is written, and each outlives the other."""
        done = []
        for copy in copies:
            if self._link(copy):
                done.append(copy.key)
            meanwhile()
        with disk_errors():
            for folder in {self._path(key).parent for key in done}:
                sync_folder(folder)
        return set(done)

    def _link(self, copy: Copy) -> bool:
        source, target = self._path(copy.source), self._path(copy.key)
        with disk_errors():
            try:
                if source.stat().st_size != copy.size_bytes:
                    return False
                self._make_folder(target.parent)
                os.utime(source)  # both names share the age that `find_older` goes by
                os.link(source, target)
            except FileNotFoundError:
                return False
            except FileExistsError:
                return True
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                self._put_copy(source, copy.key)
        return True

    def _put_copy(self, source: Path, key: str) -> None:
        """Where the file system has no hard links, or no more of this file."""
        self.put_all({key: source.read_bytes()})

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        if path.name.startswith("."):
            raise NotFound(f"{key} does not exist")
        try:
            return path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(f"{key} does not exist") from error
        except OSError as error:
            raise StorageUnavailable(f"{key} cannot be read: {error.strerror}") from error

    def has(self, key: str) -> bool:
        try:
            self.open(key).close()
        except NotFound:
            return False
        return True

    def open_each(self, keys: Iterable[str]) -> Generator[tuple[str, BinaryIO | None], None, None]:
        for key in keys:
            try:
                yield key, self.open(key)
            except NotFound:
                yield key, None

    def delete(self, key: str) -> None:
        path = self._path(key)
        with disk_errors(), suppress(FileNotFoundError):
            while path.is_dir():
                with suppress(FileNotFoundError):  # another who deletes it too has been faster
                    shutil.rmtree(path)
            path.unlink()

    def find_older(self, folder: str, age_seconds: float) -> Iterator[str]:
        limit = time.time() - age_seconds
        root = self._path(folder)
        with disk_errors():
            for path in root.rglob("*"):
                with suppress(FileNotFoundError):
                    if path.is_file() and path.stat().st_mtime < limit and path.name != ".gitkeep":
                        yield f"{folder}/{path.relative_to(root).as_posix()}"

    def check_room(self) -> None:
        for area, path in self._areas.items():
            with disk_errors():
                path.mkdir(parents=True, exist_ok=True)
                free_bytes = shutil.disk_usage(path).free
            if free_bytes < self._min_free_bytes:
                raise StorageUnavailable(
                    f"the disk of {area}/ has {free_bytes:,} bytes free, "
                    f"fewer than MIN_FREE_BYTES={self._min_free_bytes}; make room or lower it"
                )

    def try_out(self) -> None:
        for area in self._areas:
            try:
                with self.create(area) as file:
                    file.write(
                        bytes(_PROBE_BYTES)
                    )  # on a full disk an empty file can still be made
                    file.flush()
            except StorageUnavailable as error:
                raise StorageUnavailable(f"{area}/: {error}") from error

    def _path(self, key: str) -> Path:
        area, *parts = key.split("/")
        if area not in self._areas or {"", ".", ".."} & set(parts) or "\0" in key:
            raise NotFound(f"{key} does not exist")
        return self._areas[area].joinpath(*parts)

    def _make_folder(self, path: Path) -> None:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            sync_folder(path.parent)


class Draft:
    """A file that has no name yet: strings and descriptors, as pathlib and tempfile would take
    longer than the disk does."""

    def __init__(self, path: str, cleaning: ExitStack):
        self.path = path
        self._temporary = f"{path.rpartition('/')[0]}/{_TEMPORARY}{secrets.token_hex(8)}"
        self._is_named = False
        self.descriptor = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        cleaning.callback(self._close)

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:  # a nearly full disk takes a part, and refuses the next
            rest = rest[os.write(self.descriptor, rest) :]

    def rename(self) -> None:
        if os.path.exists(self.path):  # noqa: PTH110 (as said above)
            return  # with the same bytes, and it may be being read
        os.rename(self._temporary, self.path)  # noqa: PTH104 (as said above)
        self._is_named = True

    def _close(self) -> None:
        os.close(self.descriptor)
        if not self._is_named:
            with suppress(OSError):
                os.unlink(self._temporary)  # noqa: PTH108 (as said above)


def sync_folder(path: Path) -> None:
    """Without it a crash of the machine may forget the new name, though the file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
