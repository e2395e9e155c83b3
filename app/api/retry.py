"""`POST /retry/<id>`: what failed or was cancelled runs again, what succeeded stays."""

from typing import Annotated, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app import control
from app.api.batches import find_batch
from app.api.bodies import accepted_body
from app.api.described import AWAY, NOT_FOUND, Reply, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import Fields, read_query
from app.api.replies import Accepted
from app.database import deadline
from app.models import RetryScope

blueprint = Blueprint("retry", __name__)


class RetryQuery(Fields):
    only: Annotated[
        Literal["transient"] | None,
        Field(title="Only those that may heal", description="transient"),
    ] = None


@blueprint.post("/retry/<request_id>")
@describe(
    "requests",
    "Run again what failed or was cancelled",
    details="What succeeded stays. A cancelled or failed request goes on.",
    query=RetryQuery,
    replies={202: Reply("it runs again", (Accepted,), headers={"Location": "as status_url"})},
    errors={**NOT_FOUND, 409: "this request still runs: cancel it, or wait for its end", **AWAY},
)
@deadline(DATABASE_SECONDS)
def retry(request_id: str) -> ResponseReturnValue:
    query = read_query(RetryQuery)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    scope = RetryScope.TRANSIENT if query.only else RetryScope.ALL
    control.retry(batch, scope, services.database, services.pipeline)
    location = {"Location": f"/status/{batch.request_id}"}
    return jsonify(accepted_body(batch.request_id)), 202, location
