"""What a caller does with a request that was accepted: cancel, retry and delete it.

Called by the API; RETENTION_DAYS deletes too, by way of the sweeper. Each is one update of the
request's document that decides, among all who try at once; the work that follows from it is gone on
with by whoever comes by, the sweeper at the latest.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from app.database import Database
from app.errors import Conflict, Unavailable
from app.models import Batch, BatchStatus, Counts, RetryScope
from app.pipeline import Pipeline

_RUNS = "this request still runs"
_NOTHING = {
    RetryScope.ALL: "nothing is left to do: every image of this request has succeeded",
    RetryScope.TRANSIENT: "nothing is left to do: no image of this request has an error that may "
    "heal; without only=transient the others are tried again too",
}

log = structlog.get_logger(__name__)


def cancel(batch: Batch, database: Database, pipeline: Pipeline) -> None:
    """Nothing more of the batch is begun. Raises Conflict when it has ended."""
    if not database.control.cancel(batch.request_id):
        raise Conflict("this request has ended: there is nothing left to cancel")
    log.info("request cancelled", request_id=batch.request_id)
    _begin(batch, database, pipeline)


def retry(batch: Batch, scope: RetryScope, database: Database, pipeline: Pipeline) -> None:
    """Runs what did not succeed again. Raises Conflict when nothing did, or it runs.

    A batch that could not be finished runs again in any case, so that its end is tried anew.
    """
    if batch.status is BatchStatus.PROCESSING:
        raise Conflict(f"{_RUNS}: cancel it, or wait for its end")
    counts = database.segments.sum_counts(batch.request_id)
    if batch.status is not BatchStatus.FAILED and not _has_work(batch, scope, counts, database):
        raise Conflict(_NOTHING[scope])
    if not database.control.retry(batch, scope, done_before=counts.completed):
        raise Conflict(f"{_RUNS}: another retry was faster")
    log.info("request retried", request_id=batch.request_id, scope=scope.value)
    _begin(batch, database, pipeline)


def _has_work(batch: Batch, scope: RetryScope, counts: Counts, database: Database) -> bool:
    """What was cancelled may always heal; failures are looked at only where they must be."""
    if scope is RetryScope.ALL or counts.cancelled:
        return counts.failed + counts.cancelled > 0
    return counts.failed > 0 and database.products.has_transient(batch.request_id)


def delete(batch: Batch, database: Database) -> None:
    """The batch is gone for every reader; `remove` takes its parts. Raises Conflict if it runs."""
    if not database.control.remove(batch.request_id):
        raise Conflict(f"{_RUNS}: cancel it first, and wait for its end")
    log.info("request deleted", request_id=batch.request_id)


def delete_old(retention_days: int, database: Database) -> Iterator[str]:
    """The same for what ended so many days ago, by this machine's clock: ids, each to remove."""
    ended_before = datetime.now(UTC) - timedelta(days=retention_days)
    for request_id in database.control.remove_ended_before(ended_before):
        log.info("request is too old", request_id=request_id, retention_days=retention_days)
        yield request_id


def _begin(batch: Batch, database: Database, pipeline: Pipeline) -> None:
    """Makes it soon; what is away or does not come to it is left to the sweeper."""
    with suppress(Unavailable):
        found = database.batches.find(batch.request_id)
        if found and found.status is BatchStatus.PROCESSING:
            pipeline.begin(found)
