"""One image: fetch → compress → store. Called by `segment_run`, in the dispatcher's threads."""

import hashlib
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from app.budget import ByteBudget
from app.compress import Compressed, Limits, compress
from app.errors import ImageFailed, StorageUnavailable
from app.models import BatchOptions, ErrorCode, ImageResult, ImageStatus
from app.solo import CoderDied, SoloCoder
from app.sources import Fetcher
from app.storage import Storage

TRIES = 3
IMAGE_SECONDS = 180
"""All tries of one image together; no request hangs on its last few."""
SHORTEST_TRY_SECONDS = 5.0
"""Of one that had to wait for its turn beyond its time: a host is never blamed for our queue."""
WAITS_SECONDS = (1.0, 5.0)
IN_FLIGHT_BYTES = 268_435_456
"""Of fetched images in memory at once, in one process."""
SOLO_DEATHS = 3
"""An image is poison when coding it has ended so many processes that had nothing else to do."""

Place = tuple[int, int]
"""Row and position, both from 1."""


class Unwanted(Exception):
    """Nobody waits for this image any more; nothing of it was stored."""


@dataclass(slots=True)
class Job:
    """One distinct URL of a segment on its way; its first place names the file.

    With a `coder` it is coded there, in a process of its own.
    """

    url: str
    place: Place
    request_id: str
    options: BatchOptions
    is_wanted: Callable[[], bool]
    coder: SoloCoder | None = None
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


@dataclass(frozen=True)
class ImageMaker:
    """Makes images, any number at once; `coding_slots` has a permit for each that may be coded."""

    storage: Storage
    sources: Fetcher
    memory: ByteBudget
    coding_slots: threading.Semaphore
    limits: Limits
    jpeg_optimize: bool
    fetch_timeout_seconds: float

    def make(self, job: Job) -> ImageResult:
        """One try. Raises ImageFailed, Unavailable, Unwanted."""
        job.begin_try()
        left_seconds = max(job.seconds_left(), SHORTEST_TRY_SECONDS)
        timeout_seconds = min(self.fetch_timeout_seconds, left_seconds)
        with self.memory.holding() as reserve, _memory_file() as coded:
            source = self.sources.fetch(job.url, timeout_seconds, reserve).body
            with self.coding_slots:
                made = self._compress(job, source, coded)
            digest, bytes_out = _digest_and_size(coded)
            path = self._store(job, coded, file_name(job, digest, made.extension))
        return ImageResult(
            ImageStatus.COMPLETED, path, len(source), bytes_out, kept_original=made.kept_original
        )

    def _store(self, job: Job, coded: BinaryIO, name: str) -> str:
        """Its storage key."""
        folder = f"processed/{job.request_id}"
        coded.seek(0)
        with self.storage.create(folder) as file:
            shutil.copyfileobj(coded, file)
            if not job.is_wanted():
                raise Unwanted
            self.storage.put(f"{folder}/{name}", file)
        return f"{folder}/{name}"

    def _compress(self, job: Job, source: bytes, file: BinaryIO) -> Compressed:
        if job.coder is None:
            return compress(
                source, file, job.options, self.limits, jpeg_optimize=self.jpeg_optimize
            )
        return self._compress_alone(job, job.coder, source, file)

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


@contextmanager
def _memory_file() -> Iterator[BinaryIO]:
    """A file with a descriptor, which lets Pillow code without coming back to Python, in memory.

    Pillow (13) does not notice when a nearly full disk takes only part of what it writes, and the
    image would be torn; memory takes all of it. Raises StorageUnavailable when there is none left.
    """
    try:
        with os.fdopen(os.memfd_create("image"), "w+b") as file:
            yield file
    except OSError as error:
        raise StorageUnavailable(f"the machine refuses: {error.strerror}") from error


def _digest_and_size(file: BinaryIO) -> tuple[str, int]:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    return digest.hexdigest(), file.tell()


def file_name(job: Job, digest: str, extension: str) -> str:
    """`<row>-<position>-<slug of the source's name>-<12 hex of the bytes' SHA-256>.<ext>`."""
    source_name = PurePosixPath(unquote(urlsplit(job.url).path)).stem
    slug = re.sub(r"[^a-z0-9]+", "-", source_name.lower()).strip("-")[:60].strip("-") or "image"
    row, position = job.place
    return f"{row}-{position}-{slug}-{digest[:12]}.{extension}"
