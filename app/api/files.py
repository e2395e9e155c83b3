"""A stored file → a reply that the server may hand to the kernel; and attachments' names.

Called by the views that serve files.
"""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO
from urllib.parse import quote

from flask import Response, request, send_file

from app.api.described import Reply
from app.api.lazy import readers
from app.errors import Busy

NO_OUTPUT = "Output CSV not found"
BAD_RANGE = {416: "the file has no such range"}
CSV = "text/csv"
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@contextmanager
def place_to_read() -> Iterator[None]:
    """Around what opens a stored file on a web thread: a slow bucket shall not hold them all.

    Raises Busy when others read from it on as many as may.
    """
    permits = readers()
    if permits is None:
        yield
        return
    if not permits.acquire(blocking=False):
        raise Busy("too many files are being read from the bucket; try again shortly")
    try:
        yield
    finally:
        permits.release()


def unchanged_reply(media_type: str, *, etag: str) -> Response | None:
    """What `file_reply` answers a caller who has the file already; None to all others."""
    reply = Response(mimetype=media_type)
    reply.set_etag(etag)
    reply.make_conditional(request)
    return reply if reply.status_code == 304 else None


def file_reply(file: BinaryIO, media_type: str, *, etag: str | None = None) -> Response:
    """The whole file, or the range or the 304 that the request asks for; closes it in the end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    reply = send_file(file, mimetype=media_type, conditional=False, etag=False)
    reply.content_length = size
    if etag:
        reply.set_etag(etag)
    try:
        reply.make_conditional(request, accept_ranges=True, complete_length=size)
    except BaseException:  # a range beyond the end
        file.close()
        raise
    return reply


def in_ranges(whole: Reply) -> dict[int, Reply]:
    """What `file_reply` may answer, for the view's description."""
    part = replace(
        whole, text="the range that the request asks for", headers={"Content-Range": "which bytes"}
    )
    return {200: whole, 206: part}


def set_attachment(reply: Response, name: str) -> None:
    """RFC 6266: a plain name for all, and the real one for those who read `filename*`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    real = {} if plain == name else {"filename*": f"UTF-8''{quote(name, safe='')}"}
    reply.headers.set("Content-Disposition", "attachment", filename=plain, **real)
