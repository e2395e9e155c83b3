"""One catalogue through the pipeline into a folder, without a web server. Called by `process`.

    DIR/<name>-compressed.csv, DIR/images/   the result, there as a whole in the end
    DIR/.pressroom/                          what it is made in; gone with its end

The request stands alone in a database of its own, on the server that a service would use, and its
files lie in `DIR/.pressroom`: so everything that drives, mends and ends requests is the service's,
and meets no other. It is killed like a service, too: the next run into DIR goes on where it stood.
"""

import fcntl
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from app import control
from app.cli.endings import ExitCode, Unfinished
from app.cli.files import write_whole
from app.cli.progress import Progress
from app.cli.publishing import publish
from app.config import Settings
from app.errors import Conflict, PressroomError, StorageUnavailable, Unavailable
from app.intake import Upload
from app.metrics import Metrics
from app.metrics.sharing import SharedMetrics
from app.models import Batch, BatchStatus, Counts, RetryScope
from app.scratch import disk_errors
from app.services import Services, build

WORK = ".pressroom"
DATABASE = "database"
POLL_SECONDS = 0.2
AWAY_SECONDS = 60
"""So long a database or disk that is away is waited for."""
PROBE_SECONDS = 5
PROBE_BYTES = 1 << 20
"""Written when nothing has ended for so long, to see whether the disk takes any more."""
STALLED_SECONDS = 600
"""An image has three minutes; when none has ended for so long, something else is wrong."""

_DATABASE = re.compile(r"pressroom_run_[0-9a-f]{16}")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`done_now` are the slots that this run dealt with, an interrupted one before it left out."""

    batch: Batch
    counts: Counts
    output_csv: Path
    done_now: int


def run(
    upload: Upload,
    folder: Path,
    output_base: str,
    settings: Settings,
    progress: Progress,
    *,
    anew: bool = False,
) -> Outcome:
    """Makes the images and the output CSV; `output_base` is what the CSV's links begin with.

    `anew`: what an interrupted run has left is removed first. Raises Unfinished when it is
    interrupted or cannot go on, NotFound when a part of the result is gone, and what
    `Intake.accept` raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        if anew:
            _forget(folder, settings)
        try:
            return _run(upload, folder, output_base, settings, progress)
        except Conflict:
            progress.say(f"{folder / WORK} was of another file or other options: beginning anew")
            return _run(upload, folder, output_base, settings, progress)


def _forget(folder: Path, settings: Settings) -> None:
    """The database first, whose name nobody else knows. Raises Unavailable, and keeps all then."""
    work = (folder / WORK).resolve()
    if (work / DATABASE).exists():
        metrics = SharedMetrics(Metrics(), work / "metrics")
        services = build(_settings_within(work, settings), shared_metrics=metrics)
        try:
            services.database.drop()
        finally:
            services.stop()
    shutil.rmtree(work, ignore_errors=True)


def _run(
    upload: Upload, folder: Path, output_base: str, settings: Settings, progress: Progress
) -> Outcome:
    """Raises Conflict when the folder holds an unfinished run of something else, then forgotten."""
    with _workshop(folder, settings, progress) as workshop:
        job = _Job(workshop.services, folder, output_base, progress)
        try:
            request_id = job.accept(upload)
            workshop.is_needed = True
            outcome = job.finish(request_id)
        except KeyboardInterrupt as error:
            progress.say("Stopping once the images under way are done; Ctrl-C again leaves at once")
            raise Unfinished(f"interrupted; {job.how_to_go_on()}") from error
        except (Unfinished, Unavailable) as error:
            raise Unfinished(f"{error}; {job.how_to_go_on()}") from error
        except Conflict:
            workshop.is_needed = False
            raise
        workshop.is_needed = False
        return outcome


@dataclass(slots=True)
class _Workshop:
    """Where the request is made; `is_needed` while there is something to go on with."""

    services: Services
    is_needed: bool


@contextmanager
def _workshop(folder: Path, settings: Settings, progress: Progress) -> Iterator[_Workshop]:
    """Begins, and in the end stops, the services; what isn't needed any more is removed."""
    work = (folder / WORK).resolve()
    had_begun = (work / DATABASE).exists()
    metrics = SharedMetrics(Metrics(), work / "metrics")
    services = build(_settings_within(work, settings), shared_metrics=metrics)
    workshop = _Workshop(services, had_begun)
    workshop.services.start()
    try:
        yield workshop
    finally:
        with _impatience():
            if not workshop.is_needed:
                _drop(workshop.services, progress)
            workshop.services.stop()
        if not workshop.is_needed:
            shutil.rmtree(work, ignore_errors=True)  # what stays is nobody's


def _settings_within(work: Path, settings: Settings) -> Settings:
    """As the service's, but for what would reach beyond this run."""
    with disk_errors():
        work.mkdir(exist_ok=True)
        database = _database_of(work)
    return settings.model_copy(
        update={
            "mongodb_database": database,
            "upload_dir": work / "uploads",
            "processed_dir": work / "processed",
            "output_dir": work / "outputs",
            "storage_url": "",
            "engine": "threads",
            "worker_processes": 0,
            "retention_days": 0,
        }
    )


def _database_of(work: Path) -> str:
    """Drawn by lot and written down, as many folders and machines may share a server."""
    path = work / DATABASE
    if path.exists() and _DATABASE.fullmatch(path.read_text()):
        return path.read_text()
    name = f"pressroom_run_{secrets.token_hex(8)}"
    write_whole(path, [name.encode()])
    return name


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Raises Unfinished while another process works in the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"another process works in {folder}: wait for it, or choose another --out"
        raise Unfinished(message) from error


@contextmanager
def _impatience() -> Iterator[None]:
    """A signal ends the process at once: nothing is lost by that, only made again."""
    earlier = {each: signal.signal(each, _leave) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in earlier.items():
            signal.signal(each, handler)


def _leave(_signal_number: int, _frame: object) -> None:
    os._exit(ExitCode.UNFINISHED)


def _drop(services: Services, progress: Progress) -> None:
    """The result is there: nothing that goes wrong here makes the run a failure."""
    try:
        services.database.drop()
    except PressroomError as error:
        progress.say(f"the database {services.settings.mongodb_database} is left over: {error}")


class _Job:
    """One run of the request that the folder has, or gets."""

    def __init__(self, services: Services, folder: Path, output_base: str, progress: Progress):
        self._services = services
        self._folder = folder
        self._output_base = output_base
        self._progress = progress
        self._began_at = datetime.now(UTC) - timedelta(milliseconds=1)  # as the database rounds
        self._total = self._done = 0

    def accept(self, upload: Upload) -> str:
        """Its id, that of an interrupted run if there was one. Raises Conflict, Unavailable."""
        return self._patiently(lambda: self._services.intake.accept(upload))

    def finish(self, request_id: str) -> Outcome:
        """Raises Unfinished, Unavailable."""
        batch = self._patiently(lambda: self._find(request_id))
        done_before = 0
        if batch.created_at < self._began_at:
            done_before = self._go_on_with(batch)
        batch = self._follow(request_id)
        return self._patiently(lambda: self._publish(batch, done_before))

    def how_to_go_on(self) -> str:
        how = "run the same command again to go on"
        done = f"{self._done:,} of {self._total:,} images are done: "
        return (done if self._total else "") + how

    def _find(self, request_id: str) -> Batch:
        batch = self._services.database.batches.find(request_id)
        if batch is None:
            raise Unfinished("somebody has removed what this run has stored")
        return batch

    def _go_on_with(self, batch: Batch) -> int:
        """How many images an interrupted run had done."""
        database = self._services.database
        done = database.segments.sum_counts(batch.request_id).done
        self._progress.say(
            f"Going on with the run of {batch.created_at:%Y-%m-%d %H:%M} UTC: {done:,} of "
            f"{batch.total:,} images are done (--anew makes all of them again)"
        )
        if batch.status is BatchStatus.FAILED:
            control.retry(batch, RetryScope.ALL, database, self._services.pipeline)
        return done

    def _follow(self, request_id: str) -> Batch:
        """The request once it has ended."""
        away_since: float | None = None
        moved_at = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                self._services.storage.check_room()
                if now - moved_at > PROBE_SECONDS:
                    self._probe_disk()
                batch = self._find(request_id)
                counts = self._services.database.segments.sum_counts(request_id)
            except Unavailable as error:
                if away_since is None:
                    self._progress.say(f"Waiting: {error}")
                    away_since = now
                if now - away_since > AWAY_SECONDS:
                    raise
            else:
                away_since = None
                if counts.done > self._done or batch.status is not BatchStatus.PROCESSING:
                    moved_at = now
                self._done, self._total = counts.done, batch.total
                self._progress.show(counts.done, batch.total, counts.failed)
                if batch.status is not BatchStatus.PROCESSING:
                    return batch
            if now - moved_at > STALLED_SECONDS:
                raise Unfinished(f"no image has come to its end for {STALLED_SECONDS // 60} min")
            time.sleep(POLL_SECONDS)

    def _probe_disk(self) -> None:
        """Raises StorageUnavailable, where the segments only say in the log what they wait for."""
        with self._services.storage.create(f"processed/{WORK}") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()

    def _publish(self, batch: Batch, done_before: int) -> Outcome:
        if batch.status is not BatchStatus.COMPLETED:
            raise Unfinished(batch.error or f"the request is {batch.status}")
        output_csv = publish(
            batch, self._folder, self._output_base, self._services, self._progress.say
        )
        counts = self._services.database.segments.sum_counts(batch.request_id)
        return Outcome(batch, counts, output_csv, counts.done - done_before)

    def _patiently(self, act: Callable[[], _Value]) -> _Value:
        """A private database server ends with its owner, and is up again within seconds."""
        give_up_at = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                return act()
            except Unavailable as error:
                if isinstance(error, StorageUnavailable) or time.monotonic() > give_up_at:
                    raise
                time.sleep(POLL_SECONDS)
