"""The worker half, from a claimed segment to a finished request.

    claim a segment → for each distinct URL: fetch → compress → store → record, in batches
    → all segments done? claim the finish → write the output CSV → completed, webhook pending

What enters is a segment's id, from an engine; what leaves is in the database and the storage. A
worker may die at any line of this: whoever claims the segment next goes on from what was recorded.
"""

import hashlib
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import structlog

from app import webhooks
from app.catalog import absolute_url
from app.compress import Compressed, Limits, compress
from app.database import Database
from app.dispatch import Dispatcher
from app.errors import (
    BadCatalog,
    ImageFailed,
    LostClaim,
    NotFound,
    Unavailable,
)
from app.exports import Exports
from app.models import (
    Batch,
    BatchStatus,
    Counts,
    ErrorCode,
    ImageError,
    ImageResult,
    ImageStatus,
    Product,
    Segment,
)
from app.solo import CoderDied, SoloCoder
from app.sources import Fetcher
from app.storage import Storage

TRIES = 3
IMAGE_SECONDS = 180
"""All tries of one image together; no request hangs on its last few."""
WAITS_SECONDS = (1.0, 5.0)
RECORD_IMAGES = 100
RECORD_SECONDS = 0.2
RENEW_SECONDS = 5
STOP_SECONDS = 15
"""How long a stop waits for images under way before it puts them back."""
HELD_POLL_SECONDS = 0.25
FRUITLESS_CLAIMS = 2
SOLO_DEATHS = 3
"""An image is poison when coding it has ended so many processes that had nothing else to do."""

log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """The service stops: the segment goes back, with what it has got recorded."""


@dataclass(frozen=True)
class Compression:
    """How images are coded; `slots` has a permit for each that may be coded at once."""

    slots: threading.Semaphore
    limits: Limits
    jpeg_optimize: bool


class Pipeline:
    """Works segments off, and finishes requests. Its methods are called from many threads."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        exports: Exports,
        sources: Fetcher,
        compression: Compression,
        dispatcher: Dispatcher,
        fetch_timeout_seconds: float,
        submit: Callable[[str], None],
        deliver_webhooks: Callable[[], None],
    ):
        self.database = database
        self.storage = storage
        self.exports = exports
        self.sources = sources
        self.compression = compression
        self.dispatcher = dispatcher
        self.fetch_timeout_seconds = fetch_timeout_seconds
        self.stopping = threading.Event()
        self._submit = submit
        self._deliver_webhooks = deliver_webhooks

    def run_segment(self, segment_id: str) -> None:
        """Works one segment off; a no-op when another worker has it, or it is done.

        Raises Unavailable while database or storage are away: the claim runs out by itself.
        """
        self.storage.check_room()
        segment = self.database.segments.claim(segment_id)
        if segment is None or self.stopping.is_set():
            return
        batch = self.database.batches.find(segment.request_id)
        if batch is None or batch.status is not BatchStatus.PROCESSING:
            return
        self.database.batches.mark_started(batch.request_id)
        try:
            _SegmentRun(self, batch, segment).work_off()
        except LostClaim as error:
            log.info("segment lost", segment=segment_id, reason=str(error))
            self.database.batches.tidy_later(batch.request_id)
        except (_Stopped, Unavailable) as error:
            self._put_back(segment)
            if isinstance(error, Unavailable):
                raise
        else:
            self.go_on(batch.request_id)

    def _put_back(self, segment: Segment) -> None:
        self.database.products.let_go(segment)
        self.database.segments.release(segment)

    def go_on(self, request_id: str) -> None:
        """Submits what of a request nobody works on; finishes it when nothing is left."""
        for segment_id in self.database.segments.find_claimable(request_id, limit=4):
            self._submit(segment_id)
        if self.database.segments.are_all_done(request_id):
            self.finish(request_id)

    def finish(self, request_id: str) -> None:
        """Writes the output CSV and ends the request; a no-op when another does, or did."""
        token = self.database.batches.claim_finish(request_id)
        batch = self.database.batches.find(request_id) if token is not None else None
        if token is None or batch is None:
            return
        try:
            path = self._write_output_csv(batch, token)
        except LostClaim as error:
            log.info("finish lost", request_id=request_id, reason=str(error))
        except (NotFound, BadCatalog) as error:
            reason = f"the output CSV could not be written: {error}"
            self._end(batch, token, BatchStatus.FAILED, error=reason)
        else:
            self._end(batch, token, BatchStatus.COMPLETED, output_csv_path=path)

    def _write_output_csv(self, batch: Batch, token: int) -> str:
        """Its key carries the token of its writer, so that a late one overwrites nothing."""
        folder = f"outputs/{batch.request_id}"
        key = f"{folder}/{token}.csv"
        renewed_at = time.monotonic()
        with self.storage.create(folder) as file:
            for chunk in self.exports.output_csv(batch):
                file.write(chunk)
                if time.monotonic() - renewed_at > RENEW_SECONDS:
                    self.database.batches.renew_finish(batch.request_id, token)
                    renewed_at = time.monotonic()
            self.storage.put(key, file)
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
            webhook=webhooks.event_of(batch, status, counts, link=self.exports.link),
            output_csv_path=output_csv_path,
            output_base_url=self.exports.base_url,
            error=error,
        )
        log.info("request ended", request_id=batch.request_id, status=status.value)
        self._deliver_webhooks()


Place = tuple[int, int]
"""Row and position, both from 1."""


@dataclass(slots=True)
class _Job:
    """One distinct URL of a segment on its way: its first place names the file."""

    url: str
    place: Place
    tries: int = 0
    started_at: float = 0

    def wait_before_next_try(self, error: ImageFailed) -> float | None:
        """Seconds, or None when another try cannot help or comes too late."""
        if error.permanent or self.tries >= TRIES:
            return None
        wait_seconds = WAITS_SECONDS[self.tries - 1] * random.uniform(0.5, 1.5)  # noqa: S311
        wait_seconds = max(wait_seconds, error.retry_after_seconds or 0)
        return wait_seconds if wait_seconds < self.seconds_left() else None

    def seconds_left(self) -> float:
        return self.started_at + IMAGE_SECONDS - time.monotonic()


@dataclass
class _SegmentRun:
    """One segment under one claim: images are made in the dispatcher's threads, recorded here."""

    pipeline: Pipeline
    batch: Batch
    segment: Segment
    places: dict[str, list[Place]] = field(default_factory=dict)
    results: dict[Place, ImageResult] = field(default_factory=dict)
    arrivals: "queue.SimpleQueue[tuple[str, ImageResult | Unavailable]]" = field(
        default_factory=queue.SimpleQueue
    )
    awaited: int = 0
    under_way: set[str] = field(default_factory=set)
    renewed_at: float = field(default_factory=time.monotonic)
    is_over: bool = False
    coder: SoloCoder | None = None

    def work_off(self) -> None:
        """Raises LostClaim, Unavailable, and _Stopped once what was under way is recorded."""
        database = self.pipeline.database
        try:
            database.products.take_over(self.segment)
            while self._look_up_places(database.products.read(self.segment)):
                claims = database.results.claim(self.segment, self.places)
                self._record(claims.done, are_own=False)
                self._make(claims.mine)
                self._await_held(claims.held)
            database.segments.finish(self.segment, self._counts())
        finally:
            self.is_over = True

    def _look_up_places(self, products: Iterable[Product]) -> bool:
        """Where each distinct URL that is still to be made belongs; False when none is.

        What was recorded is read again before the segment ends: a server that was killed
        meanwhile may have forgotten what it had acknowledged but not journaled.
        """
        self.places.clear()
        for product in products:
            for position, image in enumerate(product.images, start=1):
                place = (product.row, position)
                self.results[place] = image.result
                if image.result.status in (ImageStatus.PENDING, ImageStatus.PROCESSING):
                    url = absolute_url(image.url, self.batch.options.base_url)
                    self.places.setdefault(url, []).append(place)
        return bool(self.places)

    def _make(self, urls: Sequence[str]) -> None:
        """Makes and records images: all at once, or one by one in a process of their own."""
        if self.segment.fruitless_claims <= FRUITLESS_CLAIMS:
            self._start(urls)
            self._record_arrivals()
            return
        with SoloCoder() as self.coder:
            for url in urls:
                self._start([url])
                self._record_arrivals()
        self.coder = None

    def _start(self, urls: Iterable[str]) -> None:
        for url in urls:
            self.awaited += 1
            attempt = partial(self._attempt, _Job(url, self.places[url][0]))
            self.pipeline.dispatcher.submit(self.batch.request_id, urlsplit(url).netloc, attempt)

    # In a thread of the dispatcher

    def _attempt(self, job: _Job) -> float | None:
        """Makes an image and hands it over; or returns the seconds to wait before the next try."""
        self.under_way.add(job.url)
        try:
            if self.is_over or self.pipeline.stopping.is_set():
                return None
            job.tries += 1
            job.started_at = job.started_at or time.monotonic()
            self.arrivals.put((job.url, self._make_image(job)))
        except ImageFailed as error:
            wait_seconds = job.wait_before_next_try(error)
            if wait_seconds is not None:
                return wait_seconds
            self.arrivals.put((job.url, _failed(error.code, str(error), error.permanent)))
        except _Stopped:  # nobody waits for it any more
            return None
        except Unavailable as error:
            self.arrivals.put((job.url, error))
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("image failed", request_id=self.batch.request_id, url=job.url)
            message = "the service could not process it; its log says why"
            self.arrivals.put((job.url, _failed(ErrorCode.DECODE_FAILED, message, False)))
        finally:
            self.under_way.discard(job.url)
        return None

    def _make_image(self, job: _Job) -> ImageResult:
        """fetch → compress → store. Raises ImageFailed, Unavailable."""
        pipeline = self.pipeline
        timeout_seconds = min(pipeline.fetch_timeout_seconds, job.seconds_left())
        source = pipeline.sources.fetch(job.url, timeout_seconds).body
        folder = f"processed/{self.batch.request_id}"
        with pipeline.storage.create(folder) as file:
            made = self._compress(source, file)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
            bytes_out = file.tell()
            key = f"{folder}/{_file_name(job, digest, made.extension)}"
            if self.is_over:
                raise _Stopped
            pipeline.storage.put(key, file)
        return ImageResult(
            ImageStatus.COMPLETED, key, len(source), bytes_out, kept_original=made.kept_original
        )

    def _compress(self, source: bytes, file: BinaryIO) -> Compressed:
        """Raises ImageFailed."""
        compression, coder = self.pipeline.compression, self.coder
        arguments = (source, file, self.batch.options, compression.limits)
        with compression.slots:
            if coder is None:
                return compress(*arguments, jpeg_optimize=compression.jpeg_optimize)
            for _ in range(SOLO_DEATHS):
                file.seek(0)
                file.truncate()
                with suppress(CoderDied):
                    return coder.compress(*arguments, jpeg_optimize=compression.jpeg_optimize)
        message = f"coding it ended {SOLO_DEATHS} processes; have a look at the file"
        raise ImageFailed(ErrorCode.POISON, message, permanent=True)

    # In the segment's own thread

    def _record_arrivals(self) -> None:
        """Records until nothing is awaited, holding the claim meanwhile."""
        stop_at: float | None = None
        while self.awaited:
            arrived = self._collect()
            self.awaited -= len(arrived)
            self._record(arrived, are_own=True)
            if self.pipeline.stopping.is_set():
                stop_at = stop_at or time.monotonic() + STOP_SECONDS
                if time.monotonic() > stop_at or not (self.under_way or self.arrivals.qsize()):
                    raise _Stopped

    def _collect(self) -> dict[str, ImageResult]:
        """What arrives within RECORD_SECONDS, RECORD_IMAGES at most. Raises Unavailable."""
        arrived: dict[str, ImageResult] = {}
        until = time.monotonic() + RECORD_SECONDS
        most = min(RECORD_IMAGES, self.awaited)
        while len(arrived) < most and (seconds := until - time.monotonic()) > 0:
            try:
                url, result = self.arrivals.get(timeout=seconds)
            except queue.Empty:
                break
            if isinstance(result, Unavailable):
                raise result
            arrived[url] = result
        return arrived

    def _record(self, arrived: Mapping[str, ImageResult], *, are_own: bool) -> None:
        """First by URL, then by place: a death in between costs a copy, not a second fetch."""
        database = self.pipeline.database
        if arrived:
            if are_own:
                database.results.record(self.segment, arrived)
            placed = {
                place: result for url, result in arrived.items() for place in self.places[url]
            }
            database.products.record(
                self.segment,
                [
                    (row, position, result, result.path and self.pipeline.exports.link(result.path))
                    for (row, position), result in placed.items()
                ],
            )
            self.results |= placed
            database.segments.progress(self.segment, self._counts())
            self.renewed_at = time.monotonic()
        elif time.monotonic() - self.renewed_at > RENEW_SECONDS:
            database.segments.renew(self.segment)
            self.renewed_at = time.monotonic()

    def _await_held(self, held: Mapping[str, tuple[str, int]]) -> None:
        """Copies what other segments hold once they have it; takes over what a dead one held."""
        database = self.pipeline.database
        while held:
            if self.pipeline.stopping.wait(HELD_POLL_SECONDS):
                raise _Stopped
            claims = database.results.claim(self.segment, held)
            self._record(claims.done, are_own=False)
            live = database.segments.find_held(claims.held.values())
            taken = [
                url
                for url, holder in claims.held.items()
                if holder not in live and database.results.take_over(self.segment, url, holder)
            ]
            self._make(taken)
            held = {url: holder for url, holder in claims.held.items() if url not in taken}

    def _counts(self) -> Counts:
        return Counts.of(self.results.values())


def _failed(code: str, message: str, permanent: bool) -> ImageResult:
    return ImageResult(ImageStatus.FAILED, error=ImageError(code, message, permanent))


def _file_name(job: _Job, digest: str, extension: str) -> str:
    """`<row>-<position>-<slug of the source's name>-<12 hex of the bytes' SHA-256>.<ext>`."""
    source_name = PurePosixPath(unquote(urlsplit(job.url).path)).stem
    slug = re.sub(r"[^a-z0-9]+", "-", source_name.lower()).strip("-")[:60].strip("-") or "image"
    row, position = job.place
    return f"{row}-{position}-{slug}-{digest[:12]}.{extension}"
