"""Files → one ZIP, written while it is sent. Called by `exports`.

Entries are stored as they are, with their sizes in front of them, so that readers which cannot
seek (`bsdtar`, Java's ZipInputStream) unpack it too; for that each file is read twice, first for
its checksum. What stays in memory is the directory: about 330 bytes an entry (measured).
"""

import re
import stat
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, MemberFile, stream_zip

# Below both limits an archive needs no ZIP64, which old readers lack. Plain ZIP ends at 65,535
# entries and 4 GiB; entries on either side of the change may stand in one archive.
PLAIN_ENTRIES = 60_000
PLAIN_BYTES = 3 << 30

_CHUNK_BYTES = 1 << 16
_HEADER_BYTES = 256  # more than those of an entry, whose name is short
_MODE = stat.S_IFREG | 0o644

_MAX_NAME_BYTES = 200  # file systems take 255, and people add " (1)"
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.|$)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file for the archive, which whoever opened it closes; its name is in it only once."""

    name: str
    file: BinaryIO


def write_archive(members: Generator[Member, None, None], modified_at: datetime) -> Iterator[bytes]:
    """Yield the chunks of a ZIP; `members` are taken one by one, and closed with it."""
    with closing(members):
        yield from stream_zip(_entries(members, modified_at), chunk_size=_CHUNK_BYTES)


def portable_name(stem: str, ending: str) -> str:
    """A file name that Windows, too, can unpack: no device's name, nothing it forbids, not long."""
    room = _MAX_NAME_BYTES - len(ending.encode())
    stem = _FORBIDDEN.sub("_", stem).encode()[:room].decode(errors="ignore")
    name = stem.lstrip() + ending
    return "_" + name if _RESERVED.match(name) else name


def _entries(members: Iterator[Member], modified_at: datetime) -> Iterator[MemberFile]:
    total_bytes = 0
    for number, member in enumerate(members, start=1):
        size, checksum = _size_and_checksum(member.file)
        total_bytes += size + _HEADER_BYTES
        is_plain = number <= PLAIN_ENTRIES and total_bytes <= PLAIN_BYTES
        method = (NO_COMPRESSION_32 if is_plain else NO_COMPRESSION_64)(size, checksum)
        yield member.name, modified_at, _MODE, method, _chunks(member.file)


def _size_and_checksum(file: BinaryIO) -> tuple[int, int]:
    size = checksum = 0
    for chunk in _chunks(file):
        size += len(chunk)
        checksum = zlib.crc32(chunk, checksum)
    return size, checksum


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
