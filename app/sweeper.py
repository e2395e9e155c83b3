"""Makes sure that work goes on, at start and every second: queues and wake-ups only make it soon.

Frees what dead processes held, submits what nobody works on, finishes what is done, and sends the
webhooks that are due. Beside it, since a large request takes minutes: removes what dead receivers
and workers have left, and what is too old.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial

import structlog

from app.control import delete_old
from app.database import Database
from app.errors import Unavailable
from app.pipeline import Pipeline
from app.removal import remove, remove_orphans
from app.storage import Storage

TICK_SECONDS = 1.0
STOP_SECONDS = 2
TIDIED_A_SWEEP = 10

log = structlog.get_logger(__name__)


class Sweeper:
    """A thread that sweeps, and one that cleans, until stopped."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        pipeline: Pipeline,
        deliver_webhooks: Callable[[], None],
        keep_database_running: Callable[[], None],
        retention_days: int = 0,
    ):
        self._database = database
        self._storage = storage
        self._pipeline = pipeline
        self._deliver_webhooks = deliver_webhooks
        self._keep_database_running = keep_database_running
        self._retention_days = retention_days
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(act,), name=name, daemon=True)
            for name, act in (("sweeper", self.sweep), ("cleaner", self.clean))
        ]
        self._last_reason: str | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_SECONDS)

    def sweep(self) -> None:
        """Once over every request that runs. Raises Unavailable."""
        try:
            self._sweep()
        except Unavailable as error:
            self._tell_changes(str(error))
            raise
        self._tell_changes(None)

    def _sweep(self) -> None:
        self._keep_database_running()
        self._database.segments.free_dead_claims()
        self._database.batches.free_dead_finishes()
        self._deliver_webhooks()
        for request_id in self._database.control.find_cancelling():
            self._each(request_id, self._pipeline.go_on)
        self._storage.check_room()
        for request_id in self._database.batches.find_processing():
            self._each(request_id, self._pipeline.go_on)

    def clean(self) -> None:
        """Once over what is to be removed. Raises Unavailable."""
        for request_id in self._database.batches.claim_abandoned():
            self._each(request_id, self._remove)
        if self._retention_days:
            for request_id in delete_old(self._retention_days, self._database):
                self._each(request_id, self._remove)
        for request_id, due_at in self._database.batches.find_untidy(TIDIED_A_SWEEP):
            self._each(request_id, partial(self._tidy, due_at))

    def _each(self, request_id: str, act: Callable[[str], None]) -> None:
        """One request that goes wrong must not keep the others waiting."""
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                act(request_id)
            except Unavailable:
                raise
            except Exception:
                log.exception("sweep failed")

    def _remove(self, request_id: str) -> None:
        remove(request_id, self._database, self._storage)

    def _tidy(self, due_at: datetime, request_id: str) -> None:
        remove_orphans(request_id, self._database, self._storage)
        self._database.batches.mark_tidy(request_id, due_at)

    def _run(self, act: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                act()
            except Unavailable:
                pass  # the sweep tells of it
            except Exception:  # the edge of the thread: one that fails must not be the last
                log.exception("sweep failed")
            self._stopping.wait(TICK_SECONDS)

    def _tell_changes(self, reason: str | None) -> None:
        """Once when work pauses and once when it goes on, not every second."""
        if reason and reason != self._last_reason:
            log.warning("work pauses", reason=reason)
        elif self._last_reason and not reason:
            log.info("work goes on")
        self._last_reason = reason
