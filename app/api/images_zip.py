"""`GET /download/<id>/images.zip`: the compressed images and the output CSV, written while sent."""

import re
from typing import Annotated

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, Field

from app.api.batches import find_batch
from app.api.described import Reply, describe
from app.api.files import NO_OUTPUT, set_attachment
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, read_query
from app.api.streaming import stream_reply
from app.database import deadline
from app.errors import BadRequest, NotFound
from app.models import Batch

blueprint = Blueprint("images_zip", __name__)

_ZIP = "application/zip"
_ROWS = re.compile(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})", re.ASCII)


def _check_rows(text: str) -> str:
    match = _ROWS.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError
    return text


class ImagesQuery(Fields):
    rows: Annotated[
        str | None,
        AfterValidator(_check_rows),
        Field(
            title="A part of them",
            description="a range of rows, counted from 1, such as 1-10000",
            json_schema_extra={"pattern": f"^{_ROWS.pattern}$"},
        ),
    ] = None


@blueprint.get("/download/<request_id>/images.zip")
@describe(
    "results",
    "Every compressed image and the output CSV",
    details="A ZIP file that is written while it is sent, so its size is not known before.",
    query=ImagesQuery,
    replies={200: Reply("the ZIP file, as an attachment", media_types=(_ZIP,))},
    errors={
        400: "rows: '90-95' begins beyond the last row, which is 48",
        404: NO_OUTPUT,
        503: "too many downloads are being written; try again shortly",
    },
)
def download_images(request_id: str) -> ResponseReturnValue:
    query = read_query(ImagesQuery)
    services = lazy_services().get()
    try:
        with deadline(DATABASE_SECONDS):
            batch = find_batch(services, request_id)
        if batch.output_csv_path is None:
            raise NotFound("the request has not ended")
        rows = _rows(query, batch)
        reply = stream_reply(services.exports.images_zip(batch, rows), _ZIP)
    except NotFound as error:
        raise NotFound(NO_OUTPUT) from error
    part = f"-rows-{rows[0]}-{rows[-1]}" if rows else ""
    set_attachment(reply, f"{batch.stem}-images{part}.zip")
    return reply


def _rows(query: ImagesQuery, batch: Batch) -> range | None:
    """The rows asked for, as far as there are so many. Raises BadRequest when there is none."""
    match = _ROWS.fullmatch(query.rows or "")
    if match is None:
        return None
    first, last = int(match[1]), min(int(match[2]), batch.rows)
    if first > last:
        raise BadRequest(f"rows: {query.rows!r} begins beyond the last row, which is {batch.rows}")
    return range(first, last + 1)
