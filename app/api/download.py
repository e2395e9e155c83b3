"""`GET /download/<id>`: the output, as stored or written anew with what the caller asks for."""

from typing import Annotated, Literal

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.batches import find_batch
from app.api.described import Reply, describe
from app.api.files import (
    BAD_RANGE,
    CSV,
    NO_OUTPUT,
    WORKBOOK,
    file_reply,
    in_ranges,
    place_to_read,
    set_attachment,
)
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, Flag, read_query
from app.api.streaming import slot, stream_reply
from app.database import deadline
from app.errors import NotFound
from app.models import Batch
from app.services import Services

blueprint = Blueprint("download", __name__)


class DownloadQuery(Fields):
    partial: Annotated[Flag, Field(title="What is done so far, at any time")] = "false"
    urls: Annotated[
        Literal["replace"] | None,
        Field(title="Each image URL exchanged in place for its output URL", description="replace"),
    ] = None
    formulas: Annotated[
        Literal["safe"] | None,
        Field(title="' before cells that a spreadsheet would compute", description="safe"),
    ] = None
    format: Annotated[
        Literal["csv", "xlsx"], Field(title="Of the file", description="csv or xlsx")
    ] = "csv"

    @property
    def changes_content(self) -> bool:
        return self.urls is not None or self.formulas is not None


@blueprint.get("/download/<request_id>")
@describe(
    "results",
    "The output CSV",
    details="The input's columns, and `Output Image Urls`, `Status` and `Error`, row for row.",
    query=DownloadQuery,
    replies=in_ranges(Reply("the file, as an attachment", media_types=(CSV, WORKBOOK))),
    errors={
        400: "row 7 has a cell of 40,000 characters, a workbook's may have 32,767: take the CSV",
        404: NO_OUTPUT,
        **BAD_RANGE,
        503: "too many downloads are being written; try again shortly",
    },
)
def download(request_id: str) -> ResponseReturnValue:
    query = read_query(DownloadQuery)
    services = lazy_services().get()
    try:
        with deadline(DATABASE_SECONDS):
            batch = find_batch(services, request_id)
        reply = _output(services, batch, query)
    except NotFound as error:
        raise NotFound(NO_OUTPUT) from error
    set_attachment(reply, f"{batch.stem}-compressed.{query.format}")
    return reply


def _output(services: Services, batch: Batch, query: DownloadQuery) -> Response:
    """Raises NotFound before the end, unless what is done so far is asked for."""
    if batch.output_csv_path is None and query.partial == "false":
        raise NotFound("the request has not ended")
    exports = services.exports
    formulas_safe = query.formulas is not None
    if query.format == "xlsx":
        with slot():
            is_replaced = query.urls is not None
            file = exports.workbook(batch, is_replaced=is_replaced, formulas_safe=formulas_safe)
        return file_reply(file, WORKBOOK)
    if not query.changes_content:
        with place_to_read():
            stored = exports.stored_csv(batch)
        if stored:
            return file_reply(stored, CSV)
    write = exports.replaced_csv if query.urls else exports.output_csv
    return stream_reply(write(batch, formulas_safe=formulas_safe), CSV)
