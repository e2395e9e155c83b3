"""`GET /status/<id>`: state, progress and a page of images."""

from typing import Annotated, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.batches import find_batch
from app.api.bodies import status_body
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, read_query
from app.database import deadline
from app.models import ImageStatus

blueprint = Blueprint("status", __name__)

_SHOWN = (*ImageStatus, "none")


class StatusQuery(Fields):
    limit: Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1000")] = 100
    cursor: str | None = None
    images: Annotated[
        ImageStatus | Literal["none"] | None, Field(description=f"one of {', '.join(_SHOWN)}")
    ] = None


@blueprint.get("/status/<request_id>")
@deadline(DATABASE_SECONDS)
def show_status(request_id: str) -> ResponseReturnValue:
    query = read_query(StatusQuery)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    body = status_body(services, batch, images=query.images, cursor=query.cursor, limit=query.limit)
    return jsonify(body)
