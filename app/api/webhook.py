"""`POST /webhook` receives what services like this one send; `GET /webhook` shows it."""

import json
from typing import Annotated

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field

from app import webhooks
from app.api.bodies import next_url
from app.api.described import AWAY, CURSOR, JSON, Reply, Sent, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.owner import current_owner, open_to_all
from app.api.parsing import Fields, NoParameters, read_query
from app.api.replies import Event, EventsPage, Received
from app.database import deadline

blueprint = Blueprint("webhook", __name__)

_TEXT = {"type": "string"}


class EventsQuery(Fields):
    limit: Annotated[
        int, Field(title="Of a page", ge=1, le=1000, description="a whole number from 1 to 1000")
    ] = 100
    cursor: Annotated[
        str | None,
        Field(
            title=CURSOR,
            pattern="^[0-9a-f]{24}$",
            description="one of ours; take it from the page before",
        ),
    ] = None


@blueprint.post("/webhook")
@describe(
    "webhooks",
    "Receive an event",
    details="Stored once per `webhook-id`. With `WEBHOOK_SECRET` the three headers must sign it.",
    headers={
        name: {"description": f"{text}; optional without WEBHOOK_SECRET", "schema": _TEXT}
        for name, text in webhooks.HEADERS.items()
    },
    sent=Sent(Event, (JSON,)),
    replies={200: Reply("stored, now or before", (Received,))},
    errors={
        400: "the body needs a request_id that is text",
        401: webhooks.BAD_SIGNATURE,
        413: f"the body is larger than the {webhooks.MAX_BODY_BYTES:,} bytes allowed here",
        **AWAY,
    },
)
@open_to_all
@deadline(DATABASE_SECONDS)
def receive_webhook() -> ResponseReturnValue:
    read_query(NoParameters)
    request.max_content_length = webhooks.MAX_BODY_BYTES
    body = request.get_data(cache=False)
    headers = {name.lower(): value for name, value in request.headers}
    services = lazy_services().get()
    webhooks.receive(services.database, services.settings.webhook_secrets, headers, body)
    received: Received = {"status": "received"}
    return jsonify(received)


@blueprint.get("/webhook")
@describe(
    "webhooks",
    "Events that were received, newest first",
    query=EventsQuery,
    replies={200: Reply("a page of them", (EventsPage,))},
    errors={400: "cursor: '1' is not one of ours; take it from the page before", **AWAY},
)
@deadline(DATABASE_SECONDS)
def show_events() -> ResponseReturnValue:
    query = read_query(EventsQuery)
    events = lazy_services().get().database.events
    page, cursor = events.page(current_owner(), before=query.cursor, limit=query.limit)
    for event in page:
        event["received_at"] = webhooks.format_time(event["received_at"])
        event["payload"] = json.loads(event["payload"])
    following = cursor and next_url("/webhook", cursor, limit=query.limit)
    return jsonify({"events": page, "next": following})
