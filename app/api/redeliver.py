"""`POST /redeliver/<id>`: the last webhook again, with the same id and body, and all its tries."""

from datetime import UTC, datetime

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.api.batches import find_batch
from app.api.bodies import accepted_body
from app.api.described import AWAY, NOT_FOUND, Reply, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.parsing import NoParameters, read_query
from app.api.replies import Accepted
from app.database import deadline
from app.errors import Conflict

blueprint = Blueprint("redeliver", __name__)

_NO_WEBHOOK = "this request has sent no webhook: it still runs, or was uploaded without webhook_url"


@blueprint.post("/redeliver/<request_id>")
@describe(
    "requests",
    "Send the last webhook again",
    details="With the same id and body, and all its tries.",
    replies={202: Reply("it is on its way", (Accepted,))},
    errors={**NOT_FOUND, 409: _NO_WEBHOOK, **AWAY},
)
@deadline(DATABASE_SECONDS)
def redeliver(request_id: str) -> ResponseReturnValue:
    read_query(NoParameters)
    services = lazy_services().get()
    batch = find_batch(services, request_id)
    if not services.database.batches.redeliver_webhook(batch.request_id, datetime.now(UTC)):
        raise Conflict(_NO_WEBHOOK)
    services.deliverer.deliver_due()
    return jsonify(accepted_body(batch.request_id, batch.status)), 202
