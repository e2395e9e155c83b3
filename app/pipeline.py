"""The worker half, from a claimed segment to a finished request.

    claim a segment → for each distinct URL: fetch → compress (`making`)
                    → store → record, in batches (`segment_run`)
    → next segment; or all done? claim the finish → write the output CSV
    → completed, or cancelled, and webhook pending, in one update → deliver

What enters is a segment's id, from an engine; what leaves is in the database and the storage. A
worker may die at any line of this: whoever claims the segment next goes on from what was recorded.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from app import webhooks
from app.cancelling import Cancellations
from app.coding import Coders
from app.database import Database
from app.dispatch import Dispatcher
from app.errors import (
    BadCatalog,
    LostClaim,
    NotFound,
    StorageUnavailable,
    Unavailable,
)
from app.every import Every
from app.exports import Exports
from app.making import ImageMaker
from app.metrics import Metrics
from app.milestones import Milestones
from app.models import Batch, BatchStatus, Segment, WebhookEvents
from app.removal import leave_nothing
from app.reopening import reopen
from app.segment_run import RENEW_SECONDS, SegmentRun, Stopped
from app.storage import Storage

SEGMENTS_AHEAD = 4
"""So many of a request wait in the engine; each that ends submits the next."""
HOPELESS_CLAIMS = 8
"""A segment that has failed so often without a result, by our own fault, ends its request."""
REST_SECONDS = 3
"""After the storage has refused, before images are fetched again in vain."""

log = structlog.get_logger(__name__)


class Pipeline:
    """Works segments off, and finishes requests. Its methods are called from many threads."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        exports: Exports,
        dispatcher: Dispatcher,
        coders: Coders,
        maker: ImageMaker,
        submit: Callable[[str], None],
        deliver_webhooks: Callable[[], None],
        metrics: Metrics,
    ):
        self.database = database
        self.storage = storage
        self.exports = exports
        self.dispatcher = dispatcher
        self.coders = coders
        self.maker = maker
        self.metrics = metrics
        self.stopping = threading.Event()
        self._cancellations = Cancellations(lambda id_: database.control.is_cancelling(id_))
        self._rest_until = 0.0
        self._submit = submit
        self._deliver_webhooks = deliver_webhooks
        self._milestones = Milestones(database, deliver_webhooks)

    def run_segment(self, segment_id: str, step_aside: Callable[[], None] = lambda: None) -> None:
        """Works one segment off; a no-op when another worker has it, or it is done.

        `step_aside` is called when little is left of it, so that another may run beside it: what is
        left may all wait for slow hosts.
        Raises Unavailable while database or storage are away; what was claimed is put back.
        """
        request_id = segment_id.partition(":")[0]
        self._check_room(request_id)
        segment = None if self.stopping.is_set() else self.database.segments.claim(segment_id)
        if segment is None:
            return
        try:
            self._work_off(segment, step_aside)
        except LostClaim as error:
            log.info("segment lost", request_id=request_id, segment=segment_id, reason=str(error))
            leave_nothing(segment.request_id, self.database, self.storage)
        except Stopped:
            self._put_back(segment)
        except Unavailable as error:
            if isinstance(error, StorageUnavailable):
                self._rest_until = time.monotonic() + REST_SECONDS
            self._put_back(segment)
            raise
        except Exception:  # a bug: the claim runs out and it is tried again, but not for ever
            log.exception("segment failed", request_id=request_id, segment=segment_id)
            if segment.fruitless_claims >= HOPELESS_CLAIMS:
                self._give_up(segment.request_id)
        else:
            self.go_on(segment.request_id)

    def _check_room(self, request_id: str) -> None:
        """A cancelled request needs no room, and once it has ended it can make some."""
        try:
            if time.monotonic() < self._rest_until:
                raise StorageUnavailable("the storage has just refused a file")
            self.storage.check_room()
        except StorageUnavailable:
            if not self.database.control.is_cancelling(request_id):
                raise

    def _work_off(self, segment: Segment, step_aside: Callable[[], None]) -> None:
        batch = self.database.batches.find(segment.request_id)
        if batch is None or batch.status is not BatchStatus.PROCESSING:
            raise LostClaim(f"request {segment.request_id} does not run any more")
        if batch.started_at is None:
            self.database.batches.mark_started(batch.request_id)
        tell = self._milestones.teller(batch)
        tell()

        def make_way() -> None:
            step_aside()
            self._submit_next(batch.request_id)

        with self._cancellations.watching(
            batch.request_id, batch.round, is_seen=batch.is_cancelling
        ) as cancellation:
            SegmentRun(
                batch,
                segment,
                database=self.database,
                dispatcher=self.dispatcher,
                coders=self.coders,
                maker=self.maker,
                storage=self.storage,
                link=self.exports.link,
                stopping=self.stopping,
                cancellation=cancellation,
                tell_progress=tell,
                make_way=make_way,
                metrics=self.metrics,
            ).work_off()

    def _put_back(self, segment: Segment) -> None:
        self.database.products.let_go(segment)
        self.database.segments.release(segment)

    def go_on(self, request_id: str) -> None:
        """Submits what of a request nobody works on; finishes it when nothing is left."""
        batch = self.database.batches.find(request_id)
        if batch is None or batch.status is not BatchStatus.PROCESSING:
            return
        self.begin(batch)
        if not batch.reopening and self.database.segments.are_all_done(request_id):
            self.finish(request_id, batch.round)

    def begin(self, batch: Batch) -> None:
        """Submits what can be worked on; of a retry, first puts back a part of what it runs again.

        Returns soon, however large the request is.
        """
        if batch.reopening:
            reopen(batch, batch.reopening, self.database)
        elif batch.webhook_events is WebhookEvents.ALL:
            self._milestones.tell(batch.request_id)
        self._submit_next(batch.request_id)

    def _submit_next(self, request_id: str) -> None:
        for segment_id in self.database.segments.find_claimable(request_id, SEGMENTS_AHEAD):
            self._submit(segment_id)

    def finish(self, request_id: str, round_number: int) -> None:
        """Writes the output CSV and ends the request; a no-op when another does, or did.

        In the round in which all was seen to be done. Raises Unavailable; then anybody may finish.
        """
        token = self.database.batches.claim_finish(request_id, round_number)
        batch = self.database.batches.find(request_id) if token is not None else None
        if token is None or batch is None:
            return
        try:
            self._finish(batch, token)
        except LostClaim as error:
            log.info("finish lost", request_id=request_id, reason=str(error))
            leave_nothing(request_id, self.database, self.storage)
        except (Stopped, Unavailable) as error:
            self.database.batches.release_finish(request_id, token)
            if isinstance(error, Unavailable):
                raise

    def _finish(self, batch: Batch, token: int) -> None:
        """What cannot be written ends as failed, or it would be tried, in vain, for ever."""
        try:
            path = self._write_output_csv(batch, token)
        except (LostClaim, Stopped, Unavailable):
            raise
        except (NotFound, BadCatalog) as error:
            reason = str(error)
        except Exception:
            log.exception("finish failed", request_id=batch.request_id)
            reason = "the service's log says why"
        else:
            status = BatchStatus.CANCELLED if batch.is_cancelling else BatchStatus.COMPLETED
            self._end(batch, token, status, output_csv_path=path)
            return
        message = f"the output CSV could not be written: {reason}"
        self._end(batch, token, BatchStatus.FAILED, error=message)

    def _give_up(self, request_id: str) -> None:
        batch = self.database.batches.find(request_id)
        token = batch and self.database.batches.claim_finish(request_id, batch.round)
        if batch and token:
            reason = "some rows could not be worked off: the service's log says why"
            with suppress(LostClaim):  # it was cancelled, or deleted, just now
                self._end(batch, token, BatchStatus.FAILED, error=reason)

    def _write_output_csv(self, batch: Batch, token: int) -> str:
        """Its key carries the token of its writer, so that a late one overwrites nothing."""
        folder = f"outputs/{batch.request_id}"
        key = f"{folder}/{token}.csv"
        batches = self.database.batches
        renewal = Every(RENEW_SECONDS, lambda: batches.renew_finish(batch.request_id, token))
        chunks = self.exports.output_csv(batch)
        with self.storage.create(folder) as file:
            file.write(renewal.during(lambda: next(chunks)))  # the upload comes from the bucket
            for chunk in chunks:
                file.write(chunk)
                if self.stopping.is_set():
                    raise Stopped
                renewal.when_due()
            renewal.during(lambda: self.storage.put(key, file))
        return key

    def _end(
        self,
        batch: Batch,
        token: int,
        status: BatchStatus,
        *,
        output_csv_path: str | None = None,
        error: str | None = None,
    ) -> None:
        counts = self.database.segments.sum_counts(batch.request_id)
        self.database.batches.end(
            batch.request_id,
            token,
            status=status,
            webhook=webhooks.event_of(batch, status, counts, link=self.exports.api_link),
            output_csv_path=output_csv_path,
            output_base_url=self.exports.images_url,
            error=error,
            counts=counts,
        )
        self.metrics.request_ended(batch, status)
        log.info("request ended", request_id=batch.request_id, status=status.value)
        self._deliver_webhooks()
