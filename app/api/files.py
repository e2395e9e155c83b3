"""A stored file → a reply that the server may hand to the kernel. Called by download, processed."""

import os
from typing import BinaryIO

from flask import Response, request, send_file


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
