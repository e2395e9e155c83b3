"""The worker of ENGINE=celery: each process of its pool works off the segments it is handed.

What enters is a segment's id, from the queue. Imported by `celery -A app.engine.celery worker`, as
`app.engine.celery` tells it to. A segment of which little is left, or which waits for a slow host,
gives its turn away: the process takes the next while the rest of it goes on in a thread.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import structlog

from app.config import read_settings
from app.engine.celery import RUN_SEGMENT, app, calm_logs, signals
from app.errors import PressroomError
from app.logs import configure_logs
from app.services import Services, build
from app.worker import share_of

SEGMENTS_AT_ONCE = 80
"""In one process; all but one of them have given their turns away."""
STOP_SECONDS = 18
"""A segment that waits for a database which hangs is left to its lease."""

log = structlog.get_logger(__name__)


class Worker:
    """The main process of a pool and, after the fork, one of those that work."""

    def __init__(self) -> None:
        self._settings = read_settings(engine="celery")
        self._services: Services | None = None
        self._is_stopping = threading.Event()
        self._threads = ThreadPoolExecutor(SEGMENTS_AT_ONCE, "segment")  # begins them when needed
        self._segments: set[Future[None]] = set()
        self._line: tuple[int, int] | None = None

    # The main process

    def set_up_logs(self, **_: Any) -> None:
        configure_logs(self._settings)
        calm_logs()

    def open(self, sender: Any, **_: Any) -> None:
        """Before the pool: limits are shared out among its processes, which hear of a stop by the
        end of a pipe."""
        self._settings = self._settings.model_copy(update={"worker_processes": sender.concurrency})
        self._line = os.pipe()

    def tell_stop(self, **_: Any) -> None:
        """At the first signal; there may be more of them."""
        if self._line:
            os.close(self._line[1])
            self._line = None

    # A process of the pool

    def begin(self, **_: Any) -> None:
        if self._line:
            os.close(self._line[1])
            threading.Thread(target=self._hear_stop, args=self._line[:1], daemon=True).start()

    def run_segment(self, segment_id: str) -> None:
        """Returns when the segment has ended or given its turn away. A no-op while it cannot run:
        then the sweeper submits it again."""
        try:
            services = self._started()
        except PressroomError as error:
            log.warning("segment waits", segment=segment_id, reason=str(error))
            return
        may_return = threading.Event()
        segment = self._threads.submit(
            self._work_off, services, str(segment_id), step_aside=may_return.set
        )
        self._segments.add(segment)
        segment.add_done_callback(self._segments.discard)
        segment.add_done_callback(lambda _: may_return.set())
        may_return.wait()

    def end(self, **_: Any) -> None:
        self._is_stopping.set()
        if self._services:
            self._services.pipeline.stopping.set()
            wait(set(self._segments), STOP_SECONDS)
            self._services.stop()

    def _started(self) -> Services:
        """Not before the first segment: a pool gives its processes little time to begin."""
        if self._services is None:
            share = share_of(self._settings)
            self._services = build(share, processes=self._settings.worker_processes)
            if self._is_stopping.is_set():
                self._services.pipeline.stopping.set()
        return self._services

    def _work_off(
        self, services: Services, segment_id: str, step_aside: Callable[[], None]
    ) -> None:
        try:
            services.pipeline.run_segment(segment_id, step_aside)
        except PressroomError as error:
            log.warning("segment waits", segment=segment_id, reason=str(error))
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("segment failed", segment=segment_id)

    def _hear_stop(self, ears: int) -> None:
        os.read(ears, 1)
        self._is_stopping.set()
        if self._services:
            self._services.pipeline.stopping.set()


def _join(worker: Worker) -> None:
    signals.setup_logging.connect(worker.set_up_logs, weak=False)
    signals.worker_init.connect(worker.open, weak=False)
    signals.worker_shutting_down.connect(worker.tell_stop, weak=False)
    signals.worker_process_init.connect(worker.begin, weak=False)
    signals.worker_process_shutdown.connect(worker.end, weak=False)
    app.task(worker.run_segment, name=RUN_SEGMENT, shared=False)


_join(Worker())
