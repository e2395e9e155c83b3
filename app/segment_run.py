"""One segment under one claim: its images are made in the dispatcher's threads, and recorded here.

    fence the rows → claim the URLs → start every image → record what arrives, in batches
    → copy what other segments held → read all again → done

Called by `pipeline`. Results reach the segment's own thread through a queue.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

import structlog

from app.catalog import absolute_url
from app.database import Database
from app.dispatch import Dispatcher
from app.errors import ImageFailed, Unavailable
from app.making import ImageMaker, Job, Place, Unwanted
from app.models import (
    Batch,
    Counts,
    ErrorCode,
    ImageError,
    ImageResult,
    ImageStatus,
    Product,
    Segment,
)
from app.solo import SoloCoder

RECORD_IMAGES = 100
RECORD_SECONDS = 0.2
RENEW_SECONDS = 5
STOP_SECONDS = 15
"""How long a stop waits for images under way before it puts them back."""
HELD_POLL_SECONDS = 0.25
FRUITLESS_CLAIMS = 2
"""After so many claims without a result the segment's images are coded one by one, alone."""

_OPEN = (ImageStatus.PENDING, ImageStatus.PROCESSING)

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The service stops: the segment goes back, with what it has got recorded."""


class SegmentRun:
    """Made for one run, and used by one thread; only `_attempt` runs in others."""

    def __init__(
        self,
        batch: Batch,
        segment: Segment,
        *,
        database: Database,
        dispatcher: Dispatcher,
        maker: ImageMaker,
        link: Callable[[str], str],
        stopping: threading.Event,
    ):
        self._batch = batch
        self._segment = segment
        self._database = database
        self._dispatcher = dispatcher
        self._maker = maker
        self._link = link
        self._stopping = stopping
        self._places: dict[str, list[Place]] = {}
        self._results: dict[Place, ImageResult] = {}
        self._arrivals: queue.SimpleQueue[tuple[str, ImageResult | Unavailable]] = (
            queue.SimpleQueue()
        )
        self._under_way: set[str] = set()
        self._awaited = 0
        self._renewed_at = time.monotonic()
        self._is_over = False

    def work_off(self) -> None:
        """Raises LostClaim, Unavailable, and Stopped once what was under way is recorded."""
        try:
            self._database.products.take_over(self._segment)
            while self._look_up_places(self._database.products.read(self._segment)):
                claims = self._database.results.claim(self._segment, self._places)
                self._record(claims.done)
                self._make(claims.mine)
                self._await_held(claims.held)
            self._database.segments.finish(self._segment, self._counts())
        finally:
            self._is_over = True

    def _look_up_places(self, products: Iterable[Product]) -> bool:
        """Where each distinct URL that is still to be made belongs; False when none is.

        What was recorded is read again before the segment ends: a server that was killed
        meanwhile may have forgotten what it had acknowledged but not journaled.
        """
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
            self._start(urls)
            self._record_arrivals()
            return
        with SoloCoder() as coder:
            for url in urls:
                self._start([url], coder)
                self._record_arrivals()

    def _start(self, urls: Iterable[str], coder: SoloCoder | None = None) -> None:
        for url in urls:
            self._awaited += 1
            job = Job(
                url,
                self._places[url][0],
                self._batch.request_id,
                self._batch.options,
                self._is_wanted,
                coder,
            )
            attempt = partial(self._attempt, job)
            self._dispatcher.submit(self._batch.request_id, _host_of(url), attempt)

    def _is_wanted(self) -> bool:
        return not self._is_over

    def _attempt(self, job: Job) -> float | None:
        """Makes an image and hands it over; or returns the seconds to wait before the next try."""
        self._under_way.add(job.url)
        try:
            if not self._stopping.is_set():
                self._arrivals.put((job.url, self._maker.make(job)))
        except Unwanted:
            return None
        except ImageFailed as error:
            wait_seconds = job.wait_before_next_try(error)
            if wait_seconds is not None:
                return wait_seconds
            self._arrivals.put((job.url, _failed(error.code, str(error), error.permanent)))
        except Unavailable as error:
            self._arrivals.put((job.url, error))
        except Exception:  # the edge of the thread: nobody else would hear of it
            place = job.url.partition("?")[0]  # what follows may be the right to see the picture
            log.exception("image failed", request_id=job.request_id, url=place)
            message = "the service could not process it: its log says why"
            self._arrivals.put((job.url, _failed(ErrorCode.DECODE_FAILED, message, False)))
        finally:
            self._under_way.discard(job.url)
        return None

    def _record_arrivals(self) -> None:
        """Records until nothing is awaited, holding the claim meanwhile."""
        stop_at: float | None = None
        while self._awaited:
            arrived, trouble = self._collect()
            self._awaited -= len(arrived)
            self._record(arrived, are_own=True)
            if trouble:
                raise trouble
            if self._stopping.is_set():
                stop_at = stop_at or time.monotonic() + STOP_SECONDS
                if time.monotonic() > stop_at or not (self._under_way or self._arrivals.qsize()):
                    raise Stopped

    def _collect(self) -> tuple[dict[str, ImageResult], Unavailable | None]:
        """What arrives within RECORD_SECONDS, RECORD_IMAGES at most; and what was away then."""
        arrived: dict[str, ImageResult] = {}
        trouble: Unavailable | None = None
        until = time.monotonic() + RECORD_SECONDS
        most = min(RECORD_IMAGES, self._awaited)
        while len(arrived) < most and (seconds := until - time.monotonic()) > 0:
            try:
                url, result = self._arrivals.get(timeout=seconds)
            except queue.Empty:
                break
            if isinstance(result, Unavailable):
                trouble = result
            else:
                arrived[url] = result
        return arrived, trouble

    def _record(self, arrived: Mapping[str, ImageResult], *, are_own: bool = False) -> None:
        """First by URL, then by place: a death in between costs a copy, not a second fetch."""
        if arrived:
            if are_own:
                self._database.results.record(self._segment, arrived)
            self._record_places(
                {place: result for url, result in arrived.items() for place in self._places[url]}
            )
            self._database.segments.progress(self._segment, self._counts())
            self._renewed_at = time.monotonic()
        elif time.monotonic() - self._renewed_at > RENEW_SECONDS:
            self._database.segments.renew(self._segment)
            self._renewed_at = time.monotonic()

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
        while held:
            if self._stopping.wait(HELD_POLL_SECONDS):
                raise Stopped
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
        return Counts.of(self._results.values())


def _failed(code: str, message: str, permanent: bool) -> ImageResult:
    return ImageResult(ImageStatus.FAILED, error=ImageError(code, message, permanent))


def _host_of(url: str) -> str:
    """Host and port, however they are written; what has none fails when it is fetched."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return parts.netloc
    return f"{parts.hostname}:{port}"
