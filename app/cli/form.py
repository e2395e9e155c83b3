"""A file and fields → the body of a multipart/form-data upload, read from the disk as it is sent.

Called by `remote`. requests' own `files=` holds the whole file in memory, twice.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from urllib3.fields import RequestField
from urllib3.filepost import choose_boundary, encode_multipart_formdata

from app.errors import BadRequest

CHUNK_BYTES = 1 << 16


class Form:
    """May be sent again. Its length is known before, so that a service can refuse by it."""

    def __init__(self, file: BinaryIO, name: str, fields: Mapping[str, Any]):
        boundary = choose_boundary()
        parts = [*_parts(fields), RequestField.from_tuples("file", (name, b""))]
        around, self.content_type = encode_multipart_formdata(parts, boundary)
        end = len(f"\r\n--{boundary}--\r\n")
        self._head, self._tail = around[:-end], around[-end:]
        self._file = file
        self._name = name
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """Raises BadRequest when the file has become shorter: what was announced is not there."""
        yield self._head
        self._file.seek(0)
        left = self._size
        while left:
            chunk = self._file.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise BadRequest(f"{self._name} became shorter while it was sent: send it again")
            left -= len(chunk)
            yield chunk
        yield self._tail


def _parts(fields: Mapping[str, Any]) -> Iterator[RequestField]:
    """A field of several values stands once for each."""
    for name, value in fields.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            yield RequestField.from_tuples(name, str(each))
