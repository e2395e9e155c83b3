"""Adds up what several processes count: workers, several web processes, those before a restart.

Each writes its counts into a folder now and then, as a file that it keeps locked for as long as it
lives. Who meets a file without a lock adds its counts to its own and removes it, so that a sum
never falls, however a process ends; a killed one takes its last two seconds with it.
"""

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from app.metrics import Key, Metrics, Snapshot, add_counts

PUBLISH_SECONDS = 2.0
MEET_SECONDS = 1.0
"""How long others are waited for: one may be stopped, or wait for its disk, and keep the lock."""
_POLL_SECONDS = 0.02

log = structlog.get_logger(__name__)


class SharedMetrics:
    """This process's metrics, and the folder in which it meets the others.

    Begins with `start`, after a fork; before, and where the folder cannot be used, the process
    knows of itself only.
    """

    def __init__(self, metrics: Metrics, folder: Path):
        self.metrics = metrics
        self._folder = folder
        self._lock = threading.Lock()
        self._held: int | None = None
        self._written = ""
        self._is_refused = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What was counted stays, for whoever comes next."""
        self._stopping.set()
        if self._thread is None:
            return
        self._thread.join(MEET_SECONDS)
        self._publish()
        with self._trying(), self._alone(MEET_SECONDS):
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def whole(self) -> Snapshot:
        """Of all that share the folder: this process as it is now, the others as published."""
        patience_seconds = 0.0 if self._is_refused else MEET_SECONDS  # a web thread waits once
        with self._trying(), self._meeting(patience_seconds):
            whole = self.metrics.snapshot()
            for path in self._files_of_others():
                if (found := _read(path)) is not None:
                    whole.add(Snapshot(found.counts) if _is_left(path) else found)
            return whole
        return self.metrics.snapshot()

    def _run(self) -> None:
        while True:
            self._publish()
            if self._stopping.wait(PUBLISH_SECONDS):
                return

    def _publish(self) -> None:
        """Writes what the dead leave with its own before it removes theirs.

        A death in between counts it twice, where it would else be lost and the sums fall.
        """
        with self._trying(), self._meeting(MEET_SECONDS):
            left = [path for path in self._files_of_others() if _is_left(path)]
            found = [snapshot.counts for path in left if (snapshot := _read(path)) is not None]
            own = self.metrics.snapshot()
            for counts in found:
                add_counts(own.counts, counts)
            self._write(own)
            for path in left:
                if path != self._own_path():  # of an earlier process with our number
                    path.unlink()
            for counts in found:
                self.metrics.adopt(counts)

    def _files_of_others(self) -> list[Path]:
        own = self._own_path()
        return [path for path in self._folder.glob("*.json") if self._held is None or path != own]

    def _own_path(self) -> Path:
        return self._folder / f"{os.getpid()}-{id(self):x}.json"

    def _write(self, snapshot: Snapshot) -> None:
        text = _text(snapshot)
        if text == self._written:
            return
        draft = self._folder / "draft"
        descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with os.fdopen(os.dup(descriptor), "w") as file:
                file.write(text)
            draft.rename(self._own_path())
        except BaseException:
            os.close(descriptor)
            raise
        if self._held is not None:
            os.close(self._held)
        self._held = descriptor
        self._written = text

    @contextmanager
    def _meeting(self, patience_seconds: float) -> Iterator[None]:
        """One process at a time, and one thread of it. Raises OSError when none lets us in."""
        give_up_at = time.monotonic() + patience_seconds
        with self._alone(patience_seconds):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(
                self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
            )
            try:
                _lock(descriptor, give_up_at)
                yield
            finally:
                os.close(descriptor)

    @contextmanager
    def _alone(self, patience_seconds: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=patience_seconds):
            raise _kept_by_another()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """A full or missing disk costs the sum, and nobody's work."""
        try:
            yield
            self._is_refused = False
        except OSError as error:
            if not self._is_refused:
                log.warning("metrics not shared", reason=error.strerror)
            self._is_refused = True


def _lock(descriptor: int, give_up_at: float) -> None:
    """The kernel's own wait has no end."""
    while True:
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.monotonic() > give_up_at:
            raise _kept_by_another()
        time.sleep(_POLL_SECONDS)


def _kept_by_another() -> OSError:
    return TimeoutError(errno.ETIMEDOUT, "another process or thread keeps the folder to itself")


def _is_left(path: Path) -> bool:
    """Whether nobody holds the file any more."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        return False
    finally:
        os.close(descriptor)


def _text(snapshot: Snapshot) -> str:
    counts = [[*key, values] for key, values in snapshot.counts.items()]
    gauges = [[*key, value] for key, value in snapshot.gauges.items()]
    return json.dumps({"counts": counts, "gauges": gauges})


def _read(path: Path) -> Snapshot | None:
    """None for what no version of this has written."""
    try:
        content = json.loads(path.read_text())
        return Snapshot(
            {_key(*key): [*map(float, values)] for *key, values in content["counts"]},
            {_key(*key): float(value) for *key, value in content["gauges"]},
        )
    except (ValueError, TypeError, KeyError):
        return None


def _key(name: str, labels: list[str]) -> Key:
    return name, tuple(labels)
