"""One segment under one claim: many threads make its images (`under_way`), which are recorded here.

    fence the rows → claim the URLs → fetch and compress every image
    → store and record what arrives, in batches; what has not changed since an earlier request is
    copied from there → copy what other segments held
    → read all again → done

Called by `pipeline`, in the segment's own thread.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from app.cancelling import Cancellation
from app.catalog import absolute_url
from app.coding import Coders
from app.database import Database
from app.dispatch import Dispatcher
from app.every import Every
from app.making import ImageMaker, Job, Made
from app.metrics import Metrics
from app.models import (
    Batch,
    Counts,
    Earlier,
    ErrorCode,
    ImageError,
    ImageResult,
    ImageStatus,
    Place,
    Product,
    Segment,
)
from app.reuse import Reused
from app.solo import SoloCoder
from app.storage import Copy, Storage
from app.under_way import Outcome, UnderWay

RENEW_SECONDS = 5
STOP_SECONDS = 15
"""How long a stop waits for images under way before it puts them back."""
HELD_POLL_SECONDS = 0.25
FEW_SHARE = 5
"""With a fifth of its images left, a segment lets another begin beside it."""
IDLE_SECONDS = 1.0
"""… or when nothing has come for so long: what is left may all wait for slow hosts."""
FRUITLESS_CLAIMS = 2
"""After so many claims without a result the segment's images are coded one by one, alone."""

_CANCELLED = ImageResult(
    ImageStatus.CANCELLED,
    error=ImageError(ErrorCode.CANCELLED, "the request was cancelled", permanent=False),
)
_OPEN = (ImageStatus.PENDING, ImageStatus.PROCESSING)


class Stopped(Exception):
    """The service stops: the segment goes back, with what it has got recorded."""


class SegmentRun:
    """Made for one run, and used by one thread; only the stages of an image run in others."""

    def __init__(
        self,
        batch: Batch,
        segment: Segment,
        *,
        database: Database,
        dispatcher: Dispatcher,
        coders: Coders,
        maker: ImageMaker,
        storage: Storage,
        link: Callable[[str], str],
        stopping: threading.Event,
        cancellation: Cancellation,
        tell_progress: Callable[[], None],
        make_way: Callable[[], None],
        metrics: Metrics,
    ):
        self._batch = batch
        self._segment = segment
        self._database = database
        self._storage = storage
        self._link = link
        self._stopping = stopping
        self._tell_progress = tell_progress
        self._make_way = make_way
        self._metrics = metrics
        self._places: dict[str, list[Place]] = {}
        self._results: dict[Place, ImageResult] = {}
        self._kind = maker.kind_of(batch)
        self._earlier: dict[str, Earlier] = {}
        self._under_way = UnderWay(
            dispatcher=dispatcher,
            coders=coders,
            maker=maker,
            is_held_back=lambda: stopping.is_set() or cancellation.is_seen,
        )
        self._renewal = Every(RENEW_SECONDS, lambda: database.segments.renew(segment))
        self._arrived_at = time.monotonic()
        self._has_made_way = False
        self._cancellation = cancellation

    def work_off(self) -> None:
        """Raises LostClaim, Unavailable, and Stopped once what was under way is recorded.

        Of a cancelled request what is under way is recorded, and the rest as cancelled.
        """
        try:
            rows = self._database.products
            rows.take_over(self._segment)
            products = rows.read(self._segment)
            while self._look_up_places(products):
                if self._cancellation.is_seen:
                    rows.cancel(self._segment, _CANCELLED)
                    self._metrics.images_cancelled(len(self._places))
                    products = rows.read(self._segment)
                else:
                    self._work_off_open()
                    products = rows.read_open(self._segment)
            self._database.segments.finish(self._segment, self._counts())
        finally:
            self._under_way.end()

    def _work_off_open(self) -> None:
        """What is still open then is read again before the segment ends: a server that was killed
        meanwhile may have forgotten what it had acknowledged but not journaled."""
        claims = self._database.results.claim(self._segment, self._places)
        self._record(claims.done)
        self._make(claims.mine)
        self._await_held(claims.held)

    def _look_up_places(self, products: Iterable[Product]) -> bool:
        """Where each distinct URL that is still to be made belongs; False when none is."""
        self._places.clear()
        for product in products:
            for position, image in enumerate(product.images, start=1):
                place = (product.row, position)
                self._results[place] = image.result
                if image.result.status in _OPEN:
                    url = absolute_url(image.url, self._batch.options.base_url)
                    self._places.setdefault(url, []).append(place)
        return bool(self._places)

    def _make(self, urls: Sequence[str]) -> None:
        """Makes and records images: all at once, or one by one in a process of their own."""
        if self._segment.fruitless_claims <= FRUITLESS_CLAIMS:
            self._earlier = self._database.results.find_earlier(self._kind, urls)
            self._under_way.call_few(0 if self._has_made_way else len(urls) // FEW_SHARE)
            self._start(urls)
            self._record_arrivals()
            return
        with SoloCoder() as coder:
            for url in urls:
                if not self._cancellation.is_seen:
                    self._start([url], coder)
                    self._record_arrivals()

    def _start(self, urls: Iterable[str], coder: SoloCoder | None = None) -> None:
        for url in urls:
            job = Job(
                url,
                self._places[url][0],
                self._batch.request_id,
                self._batch.options,
                self._under_way.is_wanted,
                coder,
                self._earlier.get(url),
            )
            self._under_way.start(job)

    def _record_arrivals(self) -> None:
        """Stores and records until nothing is awaited, or all is cancelled, holding the claim."""
        stop_at: float | None = None
        while self._under_way.awaited:
            arrived, trouble = self._under_way.collect()
            self._make_way_if_due(has_arrived=bool(arrived))
            self._record_own(arrived)
            if trouble:
                raise trouble
            self._cancellation.look_when_due()
            if self._cancellation.is_seen and self._under_way.is_quiet():
                self._under_way.abandon()
            if self._stopping.is_set():
                stop_at = stop_at or time.monotonic() + STOP_SECONDS
                if time.monotonic() > stop_at or self._under_way.is_quiet():
                    raise Stopped

    def _make_way_if_due(self, *, has_arrived: bool) -> None:
        """Before what arrived is recorded, so that the threads have other images meanwhile."""
        now = time.monotonic()
        if has_arrived:
            self._arrived_at = now
        is_idle = now - self._arrived_at > IDLE_SECONDS
        if not self._has_made_way and (is_idle or self._under_way.are_few()):
            self._has_made_way = True
            self._under_way.call_few(0)
            self._make_way()

    def _record_own(self, arrived: dict[str, Outcome]) -> None:
        """First the files, then by URL, then by place: a death in between costs a copy at most,
        not a second fetch."""
        began_at = time.monotonic()
        made = [arrival for arrival in arrived.values() if isinstance(arrival, Made)]
        try:
            self._renewal.when_due()  # whoever has slept past its lease stores nothing
            if made:
                self._store(made)
        finally:
            for one in made:
                one.room.release()
        self._copy_reused(arrived)
        results = {
            url: arrival if isinstance(arrival, ImageResult) else arrival.result
            for url, arrival in arrived.items()
        }
        sources = {
            url: arrival.source
            for url, arrival in arrived.items()
            if not isinstance(arrival, ImageResult) and arrival.source
        }
        timings = [one.timings for one in made]
        stored_at = time.monotonic()
        arrived.clear()  # what they hold is on the disk, and the database may take its time
        made.clear()
        if results:
            self._database.results.record(self._segment, results, sources, self._kind)
            self._record(results)
            self._metrics.images_recorded(
                results.values(),
                timings,
                store_seconds=stored_at - began_at,
                record_seconds=time.monotonic() - stored_at,
            )

    def _copy_reused(self, arrived: dict[str, Outcome]) -> None:
        """Gives this request files of its own; what is gone by now is fetched, and arrives anew."""
        reused = {url: one for url, one in arrived.items() if isinstance(one, Reused)}
        if not reused:
            return
        there = self._storage.copy_all(
            (
                Copy(one.copied_from, str(one.result.path), one.result.bytes_out)
                for one in reused.values()
            ),
            self._renewal.when_due,
        )
        gone = [url for url, one in reused.items() if one.result.path not in there]
        for url in gone:
            del arrived[url], self._earlier[url]
        self._start(gone)

    def _record(self, results: Mapping[str, ImageResult]) -> None:
        if results:
            self._record_places(
                {place: result for url, result in results.items() for place in self._places[url]}
            )
            self._database.segments.progress(self._segment, self._counts())
            self._renewal.was_done()
            self._tell_progress()

    def _store(self, made: Sequence[Made]) -> None:
        """A bucket may take longer than a lease: another would make the same images meanwhile."""
        files = {str(one.result.path): one.content for one in made}
        self._storage.put_all(files, self._renewal.when_due)

    def _record_places(self, placed: Mapping[Place, ImageResult]) -> None:
        self._database.products.record(
            self._segment,
            [
                (row, position, result, result.path and self._link(result.path))
                for (row, position), result in placed.items()
            ],
        )
        self._results |= placed

    def _await_held(self, held: Mapping[str, tuple[str, int]]) -> None:
        """Copies what other segments hold once they have it; takes over what a dead one held."""
        while held and not self._cancellation.is_seen:
            self._cancellation.look_when_due()
            if self._stopping.wait(HELD_POLL_SECONDS):
                raise Stopped
            self._renewal.when_due()
            self._make_way_if_due(has_arrived=False)
            claims = self._database.results.claim(self._segment, held)
            self._record(claims.done)
            live = self._database.segments.find_held(claims.held.values())
            taken = [
                url
                for url, holder in claims.held.items()
                if holder not in live
                and self._database.results.take_over(self._segment, url, holder)
            ]
            self._make(taken)
            held = {url: holder for url, holder in claims.held.items() if url not in taken}

    def _counts(self) -> Counts:
        return Counts.of(self._results)
