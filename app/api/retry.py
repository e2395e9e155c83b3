"""`POST /retry/<id>`: what failed or was cancelled runs again, what succeeded stays."""

from typing import Annotated, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app import control
from app.api.batches import find_batch
from app.api.bodies import accepted_body
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, read_query
from app.database import deadline
from app.models import RetryScope

blueprint = Blueprint("retry", __name__)


class RetryQuery(Fields):
    only: Annotated[Literal["transient"] | None, Field(description="transient")] = None


@blueprint.post("/retry/<request_id>")
@deadline(DATABASE_SECONDS)
def retry(request_id: str) -> ResponseReturnValue:
    query = read_query(RetryQuery)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    scope = RetryScope.TRANSIENT if query.only else RetryScope.ALL
    control.retry(batch, scope, services.database, services.pipeline)
    location = {"Location": f"/status/{batch.request_id}"}
    return jsonify(accepted_body(batch.request_id)), 202, location
