"""`GET /status/<id>`: state, progress and a page of images."""

from typing import Annotated, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.batches import find_batch
from app.api.bodies import BAD_CURSOR, status_body
from app.api.described import AWAY, CURSOR, NOT_FOUND, Reply, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, read_query
from app.api.replies import Status
from app.database import deadline
from app.models import ImageStatus

blueprint = Blueprint("status", __name__)

_SHOWN = (*ImageStatus, "none")


class StatusQuery(Fields):
    limit: Annotated[
        int,
        Field(title="Of a page", ge=1, le=1000, description="a whole number from 1 to 1000"),
    ] = 100
    cursor: Annotated[str | None, Field(title=CURSOR)] = None
    images: Annotated[
        ImageStatus | Literal["none"] | None,
        Field(title="Only these", description=f"one of {', '.join(_SHOWN)}"),
    ] = None


@blueprint.get("/status/<request_id>")
@describe(
    "requests",
    "How far a request is, with a page of its images",
    details="`processing` until every image has been dealt with and the output CSV is there.",
    query=StatusQuery,
    replies={200: Reply("the status document", (Status,))},
    errors={400: BAD_CURSOR, **NOT_FOUND, **AWAY},
)
@deadline(DATABASE_SECONDS)
def show_status(request_id: str) -> ResponseReturnValue:
    query = read_query(StatusQuery)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    body = status_body(services, batch, images=query.images, cursor=query.cursor, limit=query.limit)
    return jsonify(body)
