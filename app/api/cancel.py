"""`POST /cancel/<id>`: the request ends with what it has, once the images in flight are done."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import control
from app.api.batches import find_batch
from app.api.bodies import accepted_body
from app.api.described import AWAY, NOT_FOUND, Reply, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import NoParameters, read_query
from app.api.replies import Accepted
from app.database import deadline

blueprint = Blueprint("cancel", __name__)


@blueprint.post("/cancel/<request_id>")
@describe(
    "requests",
    "Stop a request",
    details="Images in flight are finished, the rest become `cancelled`, the output is written.",
    replies={202: Reply("it is being stopped", (Accepted,))},
    errors={
        **NOT_FOUND,
        409: "this request has ended: there is nothing left to cancel",
        **AWAY,
    },
)
@deadline(DATABASE_SECONDS)
def cancel(request_id: str) -> ResponseReturnValue:
    read_query(NoParameters)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    control.cancel(batch, services.database, services.pipeline)
    return jsonify(accepted_body(batch.request_id)), 202
