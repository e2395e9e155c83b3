"""One image: fetch → compress; what comes of it is stored and recorded by `segment_run`.

Fetching waits for the network and has many threads, coding burns a core and has as many as there
are: both are called by `under_way`, each in its own pool. A source that has not changed since an
earlier request is neither sent nor coded again: that request's image is copied (`reuse`).
"""

import hashlib
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from app.budget import Budget, Room
from app.compress import CODING, Compressed, Limits, compress
from app.errors import ImageFailed, NoRoom, StorageUnavailable
from app.models import (
    Batch,
    BatchOptions,
    Earlier,
    ErrorCode,
    ImageResult,
    ImageStatus,
    Place,
    Source,
    Timings,
)
from app.reuse import Reused, identify, is_same, may_be_remembered
from app.solo import CoderDied, SoloCoder
from app.sources import Fetcher

TRIES = 3
IMAGE_SECONDS = 180
"""All tries of one image together; no request hangs on its last few."""
SHORTEST_TRY_SECONDS = 5.0
"""Of one that had to wait for its turn beyond its time: a host is never blamed for our queue."""
WAITS_SECONDS = (1.0, 5.0)
IN_FLIGHT_BYTES = 268_435_456
"""Of images in memory at once, fetched or coded and not yet stored, in one process."""
PIXELS_IN_FLIGHT = 100_000_000
"""Being coded at once, in one process: 14 bytes each from JPEG to JPEG, 50 and more else, for
which they count twice (measured with 49-megapixel pictures: a PNG becoming WebP is coded alone)."""
SOLO_DEATHS = 3
"""An image is poison when coding it has ended so many processes that had nothing else to do."""


class Unwanted(Exception):
    """Nobody waits for this image any more; nothing of it was stored."""


@dataclass(slots=True)
class Job:
    """One distinct URL of a segment on its way; its first place names the file.

    With a `coder` it is coded there, in a process of its own. `earlier` is what there is of an
    earlier request, to be reused unless the source has changed.
    """

    url: str
    place: Place
    request_id: str
    options: BatchOptions
    is_wanted: Callable[[], bool]
    coder: SoloCoder | None = None
    earlier: Earlier | None = None
    tries: int = 0
    started_at: float = 0

    def begin_try(self) -> None:
        """Raises Unwanted."""
        if not self.is_wanted():
            raise Unwanted
        self.tries += 1
        self.started_at = self.started_at or time.monotonic()

    def seconds_left(self) -> float:
        return self.started_at + IMAGE_SECONDS - time.monotonic()

    def wait_before_next_try(self, error: ImageFailed) -> float | None:
        """Seconds, or None when another try cannot help or comes too late."""
        if error.permanent or self.tries >= TRIES:
            return None
        wait_seconds = WAITS_SECONDS[self.tries - 1] * random.uniform(0.5, 1.5)  # noqa: S311
        wait_seconds = max(wait_seconds, error.retry_after_seconds or 0)
        return wait_seconds if wait_seconds < self.seconds_left() else None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source, what identifies it if anything does, and the room that it takes of the memory."""

    body: bytes
    room: Room
    source: Source | None = None
    fetch_seconds: float = 0
    arrived_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Made:
    """A compressed image that is to be stored as `result.path`; its room goes with it."""

    result: ImageResult
    content: bytes
    room: Room
    source: Source | None
    timings: Timings


@dataclass(frozen=True)
class ImageMaker:
    """Makes images, any number at once; `pixels` are those being coded, in all threads together."""

    sources: Fetcher
    memory: Budget
    pixels: Budget
    limits: Limits
    jpeg_optimize: bool
    fetch_timeout_seconds: float

    def kind_of(self, batch: Batch) -> str:
        """What a result depends on besides the URL."""
        options = batch.options
        size = (options.max_width, options.max_height)
        coding = (options.quality, options.format.value, *size, self.jpeg_optimize, CODING)
        return json.dumps([batch.owner, *coding])

    def fetch(self, job: Job) -> Fetched | Reused:
        """One try. Raises ImageFailed, Unwanted."""
        job.begin_try()
        left_seconds = max(job.seconds_left(), SHORTEST_TRY_SECONDS)
        timeout_seconds = min(self.fetch_timeout_seconds, left_seconds)
        room = self.memory.room()
        try:
            return self._fetch_into(room, job, timeout_seconds)
        except BaseException:
            room.release()
            raise

    def _fetch_into(self, room: Room, job: Job, timeout_seconds: float) -> Fetched | Reused:
        known = asked = job.earlier.source if job.earlier else None
        while True:
            try:
                fetched = self.sources.fetch(job.url, timeout_seconds, room.take_up_to, asked)
            except NoRoom as error:
                room.release()
                if not room.take(error.size, job.is_wanted):  # outside the time that the host has
                    raise Unwanted from error
                continue
            source = identify(fetched, known)
            remembered = source if may_be_remembered(fetched, source) else None
            if job.earlier and known and is_same(fetched, source, known):
                room.release()
                return _reused(job, job.earlier, remembered)
            if not fetched.is_unchanged:
                room.shrink(len(fetched.body))
                return Fetched(fetched.body, room, remembered, fetched.elapsed_seconds)
            asked = None

    def code(self, job: Job, source: Fetched) -> Made:
        """Raises ImageFailed, StorageUnavailable, Unwanted."""
        try:
            return self._code(job, source)
        except BaseException:
            source.room.release()
            raise

    def _code(self, job: Job, source: Fetched) -> Made:
        if not job.is_wanted():
            raise Unwanted
        began_at = time.monotonic()
        with _memory_file() as file:
            made = self._compress(job, source.body, file)
            content = os.pread(file.fileno(), file.tell(), 0)
        source.room.shrink(len(content))
        source.room.take_up_to(len(content))  # as far as there is any
        digest = hashlib.sha256(content).hexdigest()[:12]
        path = f"processed/{job.request_id}/{file_name(job, digest, made.extension)}"
        result = ImageResult(
            ImageStatus.COMPLETED,
            path,
            len(source.body),
            len(content),
            kept_original=made.kept_original,
        )
        timings = Timings(
            source.fetch_seconds,
            began_at - source.arrived_at,
            time.monotonic() - began_at,
            job.started_at,
        )
        return Made(result, content, source.room, source.source, timings)

    def _compress(self, job: Job, source: bytes, file: BinaryIO) -> Compressed:
        if job.coder is not None:
            return self._compress_alone(job, job.coder, source, file)
        room = self.pixels.room()
        try:
            return compress(
                source,
                file,
                job.options,
                self.limits,
                jpeg_optimize=self.jpeg_optimize,
                reserve_pixels=room.take,
            )
        finally:
            room.release()

    def _compress_alone(
        self, job: Job, coder: SoloCoder, source: bytes, file: BinaryIO
    ) -> Compressed:
        """Raises ImageFailed with `poison` when every coder died of it."""
        for _ in range(SOLO_DEATHS):
            if not job.is_wanted():
                raise Unwanted
            file.seek(0)
            file.truncate()
            with suppress(CoderDied):
                return coder.compress(
                    source, file, job.options, self.limits, jpeg_optimize=self.jpeg_optimize
                )
        message = f"coding it ended {SOLO_DEATHS} processes: have a look at the file"
        raise ImageFailed(ErrorCode.POISON, message, permanent=True)


class _MemoryFile:
    """A file with a descriptor, which lets Pillow code without coming back to Python, in memory.

    Pillow (13) does not notice when a nearly full disk takes only part of what it writes, and the
    image would be torn; memory takes all of it.
    """

    def __init__(self) -> None:
        self.file = cast(BinaryIO, os.fdopen(os.memfd_create("image"), "w+b", buffering=0))

    def __del__(self) -> None:
        self.file.close()  # its thread has ended; Python warns of files that are only forgotten


_of_thread = threading.local()


@contextmanager
def _memory_file() -> Iterator[BinaryIO]:
    """This thread's own, empty. Raises StorageUnavailable when there is no memory left.

    It is kept from image to image: a call of the system gives the interpreter away, and with many
    threads it takes time to have it back.
    """
    try:
        if not hasattr(_of_thread, "memory"):
            _of_thread.memory = _MemoryFile()
        file: BinaryIO = _of_thread.memory.file
        try:
            yield file
        finally:
            file.seek(0)
            file.truncate(0)
    except OSError as error:
        raise StorageUnavailable(f"the machine refuses: {error.strerror}") from error


def _reused(job: Job, earlier: Earlier, source: Source | None) -> Reused:
    """In this request it is named for its own place, with the same hash of the same bytes."""
    copied_from = str(earlier.result.path)
    digest, _, extension = copied_from.rpartition("-")[2].partition(".")
    path = f"processed/{job.request_id}/{file_name(job, digest, extension)}"
    return Reused(replace(earlier.result, path=path, reused=True), copied_from, source)


def file_name(job: Job, digest: str, extension: str) -> str:
    """`<row>-<position>-<slug of the source's name>-<12 hex of the bytes' SHA-256>.<ext>`."""
    source_name = PurePosixPath(unquote(urlsplit(job.url).path)).stem
    slug = re.sub(r"[^a-z0-9]+", "-", source_name.lower()).strip("-")[:60].strip("-") or "image"
    row, position = job.place
    return f"{row}-{position}-{slug}-{digest}.{extension}"
