"""`GET /download/<id>`: the output CSV, as stored or written anew with what the caller asks for."""

import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import quote

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.batches import find_batch
from app.api.files import file_reply
from app.api.lazy import DATABASE_SECONDS, lazy_services, slots
from app.api.parsing import Fields, Flag, read_query
from app.database import deadline
from app.errors import NotFound, Unavailable
from app.models import Batch
from app.services import Services

blueprint = Blueprint("download", __name__)

_MEDIA_TYPE = "text/csv"


class DownloadQuery(Fields):
    partial: Flag = "false"
    urls: Annotated[Literal["replace"] | None, Field(description="replace")] = None
    formulas: Annotated[Literal["safe"] | None, Field(description="safe")] = None

    @property
    def changes_content(self) -> bool:
        return self.urls is not None or self.formulas is not None


@blueprint.get("/download/<request_id>")
def download(request_id: str) -> ResponseReturnValue:
    query = read_query(DownloadQuery)
    services = lazy_services().get()
    try:
        with deadline(DATABASE_SECONDS):
            batch = find_batch(services, request_id)
        reply = _output(services, batch, query)
    except NotFound as error:
        raise NotFound("Output CSV not found") from error
    name = f"{PurePosixPath(batch.filename).stem.lstrip('.')}-compressed.csv"
    _set_attachment(reply, name)
    return reply


def _output(services: Services, batch: Batch, query: DownloadQuery) -> Response:
    """Raises NotFound before the end, unless what is done so far is asked for."""
    if batch.output_csv_path is None and query.partial == "false":
        raise NotFound("the request has not ended")
    is_as_stored = batch.output_base_url == services.exports.base_url and not query.changes_content
    if batch.output_csv_path and is_as_stored:
        return file_reply(services.storage.open(batch.output_csv_path), _MEDIA_TYPE)
    write = services.exports.replaced_csv if query.urls else services.exports.output_csv
    return _stream(write(batch, formulas_safe=query.formulas is not None))


def _stream(chunks: Iterator[bytes]) -> Response:
    """A reply that is written while it is sent, and holds a slot as long.

    The first chunk comes before the reply does, so that what goes wrong can still be told.
    """
    permits = slots()
    if not permits.acquire(blocking=False):
        raise Unavailable("too many downloads are being written; try again shortly")
    try:
        reply = Response(_from_first(next(chunks, b""), chunks), mimetype=_MEDIA_TYPE)
    except BaseException:
        permits.release()
        raise
    reply.call_on_close(permits.release)
    return reply


def _from_first(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    """A generator, so that closing it closes the one below: a caller may hang up midway."""
    yield first
    yield from others


def _set_attachment(reply: Response, name: str) -> None:
    """RFC 6266: a plain name for all, and the real one for those who read `filename*`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    real = {} if plain == name else {"filename*": f"UTF-8''{quote(name, safe='')}"}
    reply.headers.set("Content-Disposition", "attachment", filename=plain, **real)
