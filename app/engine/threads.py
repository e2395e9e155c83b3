"""The engine inside the process: a few segments of each request at once, in turn."""

import threading
from collections.abc import Callable

import structlog

from app.dispatch import Dispatcher
from app.errors import Unavailable

STOP_SECONDS = 18
"""A segment that waits for a database which hangs is left to its lease."""
SEGMENTS_AT_ONCE = 32
SEGMENTS_A_REQUEST = 3
"""Enough that the end of one segment does not leave threads idle; few, so that requests share."""

log = structlog.get_logger(__name__)


class ThreadEngine:
    """Runs segments in threads; the images in them run in threads of their own."""

    def __init__(self, run_segment: Callable[[str], None]):
        self._run_segment = run_segment
        self._dispatcher = Dispatcher(
            "segment", threads=SEGMENTS_AT_ONCE, per_lane=SEGMENTS_A_REQUEST
        )
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._running = 0
        self._is_stopped = False

    def submit(self, segment_id: str) -> None:
        with self._changed:
            if self._is_stopped or segment_id in self._held:
                return
            self._held.add(segment_id)
            request_id = segment_id.partition(":")[0]
            self._dispatcher.submit(request_id, request_id, lambda: self._run(segment_id))

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.wait_for(lambda: self._running == 0, STOP_SECONDS)
        self._dispatcher.stop()

    def _run(self, segment_id: str) -> None:
        with self._changed:
            if self._is_stopped:
                return
            self._running += 1
        try:
            self._run_segment(segment_id)
        except Unavailable as error:
            log.warning("segment waits", segment=segment_id, reason=str(error))
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("segment failed", segment=segment_id)
        finally:
            with self._changed:
                self._running -= 1
                self._held.discard(segment_id)
                self._changed.notify_all()
