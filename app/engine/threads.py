"""The engine inside the process: a few segments of each request at once, in turn."""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog

from app.dispatch import Dispatcher
from app.errors import Unavailable

STOP_SECONDS = 18
"""A segment that waits for a database which hangs is left to its lease."""
SEGMENTS_AT_ONCE = 96
"""Most of them only wait: for a slow host, or for the images of the others."""
SEGMENTS_A_REQUEST = 3
"""Enough that the end of one segment does not leave threads idle; few, so that requests share."""
SEGMENTS_ASIDE = 80
"""Of one request, which wait for slow hosts while others of its segments go on."""

log = structlog.get_logger(__name__)


class ThreadEngine:
    """Runs segments in threads; the images in them run in threads of their own."""

    def __init__(self, run_segment: Callable[[str, Callable[[], None]], None]):
        self._run_segment = run_segment
        self._dispatcher = Dispatcher(
            "segment", threads=SEGMENTS_AT_ONCE, per_lane=SEGMENTS_A_REQUEST
        )
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._aside: Counter[str] = Counter()
        self._running = 0
        self._is_stopped = False

    def submit(self, segment_id: str) -> None:
        with self._changed:
            if self._is_stopped or segment_id in self._held:
                return
            self._held.add(segment_id)
            request_id = segment_id.partition(":")[0]
            self._dispatcher.submit(request_id, request_id, lambda: self._run(segment_id))

    def check(self) -> None:
        """There is nothing between it and those who work."""

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
        request_id = segment_id.partition(":")[0]
        turn = _Turn(partial(self._count_aside, request_id))
        structlog.contextvars.clear_contextvars()  # the thread has run others before
        structlog.contextvars.bind_contextvars(request_id=request_id, segment=segment_id)
        try:
            self._run_segment(segment_id, turn.step_aside)
        except Unavailable as error:
            log.warning("segment waits", reason=str(error))
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("segment failed")
        finally:
            turn.end()
            with self._changed:
                self._running -= 1
                self._held.discard(segment_id)
                self._changed.notify_all()

    def _count_aside(self, request_id: str, change: int) -> None:
        """Lets as many more of a request's segments run as have stepped aside."""
        with self._changed:
            self._aside[request_id] += change
            aside = self._aside[request_id]
            if not aside:
                del self._aside[request_id]
            limit = SEGMENTS_A_REQUEST + min(aside, SEGMENTS_ASIDE) if aside else None
            self._dispatcher.set_limit(request_id, limit)


class _Turn:
    """A segment's place among those that run; it may be given away once."""

    def __init__(self, count_aside: Callable[[int], None]):
        self._count_aside = count_aside
        self._is_aside = False

    def step_aside(self) -> None:
        if not self._is_aside:
            self._is_aside = True
            self._count_aside(1)

    def end(self) -> None:
        if self._is_aside:
            self._count_aside(-1)
