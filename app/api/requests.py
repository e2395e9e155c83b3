"""`GET /requests`: the caller's requests, newest first. `DELETE /requests/<id>` removes one."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from app import control
from app.api.batches import find_batch
from app.api.bodies import BAD_CURSOR, next_url, summary_body
from app.api.described import AWAY, CURSOR, NOT_FOUND, Reply, describe
from app.api.lazy import DATABASE_SECONDS, lazy_services, slots
from app.api.owner import current_owner
from app.api.parsing import Fields, NoParameters, read_query
from app.api.replies import RequestsPage
from app.database import deadline
from app.database.control import Key
from app.errors import BadRequest, Unavailable
from app.models import Batch, BatchStatus
from app.removal import remove
from app.services import Services

blueprint = Blueprint("requests", __name__)
log = structlog.get_logger(__name__)

_CURSOR = re.compile(r"([0-9]{1,14})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RequestsQuery(Fields):
    limit: Annotated[
        int, Field(title="Of a page", ge=1, le=200, description="a whole number from 1 to 200")
    ] = 50
    cursor: Annotated[str | None, Field(title=CURSOR)] = None
    status: Annotated[
        BatchStatus | None,
        Field(title="Only these", description=f"one of {', '.join(BatchStatus)}"),
    ] = None


@blueprint.get("/requests")
@describe(
    "requests",
    "The caller's requests, newest first",
    query=RequestsQuery,
    replies={200: Reply("a page of them", (RequestsPage,))},
    errors={400: BAD_CURSOR, **AWAY},
)
@deadline(DATABASE_SECONDS)
def list_requests() -> ResponseReturnValue:
    query = read_query(RequestsQuery)
    after = _key(query.cursor)
    database = lazy_services().get().database
    page, has_more = database.control.page(
        current_owner(), after=after, limit=query.limit, status=query.status
    )
    running = [batch.request_id for batch in page if batch.counts is None]
    counts = database.segments.sum_counts_of(running)
    entries = [summary_body(batch, batch.counts or counts[batch.request_id]) for batch in page]
    following = None
    if has_more:
        filters = {"limit": query.limit, "status": query.status}
        following = next_url("/requests", _cursor(page[-1]), **filters)
    body: RequestsPage = {"requests": entries, "next": following}
    return jsonify(body)


@blueprint.delete("/requests/<request_id>")
@describe(
    "requests",
    "Remove a request with all its files",
    replies={204: Reply("it is gone", media_types=())},
    errors={
        **NOT_FOUND,
        409: "this request still runs: cancel it first, and wait for its end",
        **AWAY,
    },
)
def delete_request(request_id: str) -> ResponseReturnValue:
    read_query(NoParameters)
    services = lazy_services().get()
    with deadline(DATABASE_SECONDS):
        batch = find_batch(services, request_id)
        control.delete(batch, services.database)
    _remove(services, batch.request_id)
    return Response(status=204)


def _remove(services: Services, request_id: str) -> None:
    """At once where a thread may be held for so long; else the sweeper does it, as for all else."""
    permits = slots()
    if not permits.acquire(blocking=False):
        return
    try:
        remove(request_id, services.database, services.storage)
    except Unavailable as error:
        log.warning("removal left for the sweeper", request_id=request_id, reason=str(error))
    finally:
        permits.release()


def _cursor(batch: Batch) -> str:
    """Opaque to callers; times are kept to the millisecond."""
    milliseconds = (batch.created_at - _EPOCH) // timedelta(milliseconds=1)
    return base64.urlsafe_b64encode(f"{milliseconds}.{batch.request_id}".encode()).decode()


def _key(cursor: str | None) -> Key | None:
    """What a page ended with. Raises BadRequest."""
    if cursor is None:
        return None
    try:
        match = _CURSOR.fullmatch(base64.b64decode(cursor, altchars=b"-_", validate=True).decode())
    except ValueError:
        match = None
    if match is None:
        raise BadRequest(BAD_CURSOR)
    return _EPOCH + timedelta(milliseconds=int(match[1])), match[2]
