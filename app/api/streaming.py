"""Replies that take long to write, and hold a slot. Called by the views of downloads."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from flask import Response

from app.api.lazy import slots
from app.errors import Unavailable


def stream_reply(chunks: Iterator[bytes], media_type: str) -> Response:
    """A reply that holds a slot as long as it is sent. Raises Unavailable when none is free.

    The first chunk comes before the reply does, so that what goes wrong can still be told; what
    goes wrong later cuts the connection, so that no client takes a part for the whole.
    """
    permits = _take_slot()
    try:
        reply = Response(_from_first(next(chunks, b""), chunks), mimetype=media_type)
    except BaseException:
        permits.release()
        raise
    reply.call_on_close(permits.release)
    return reply


@contextmanager
def slot() -> Iterator[None]:
    """For what is written before the reply. Raises Unavailable when no slot is free."""
    permits = _take_slot()
    try:
        yield
    finally:
        permits.release()


def _take_slot() -> BoundedSemaphore:
    permits = slots()
    if not permits.acquire(blocking=False):
        raise Unavailable("too many downloads are being written; try again shortly")
    return permits


def _from_first(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    """A generator, so that closing it closes the one below: a caller may hang up midway."""
    yield first
    yield from others
