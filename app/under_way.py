"""The images of one segment on their way: through the threads that fetch and those that code.

In: jobs, from the segment's own thread. Out: what becomes of each, collected by that thread, which
is woken when there is enough of it to record. A try that failed and may heal begins again by
itself. Called by `segment_run`.
"""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from app.coding import Coders
from app.dispatch import Dispatcher
from app.errors import ImageFailed, Unavailable
from app.hosts import host_of
from app.making import Fetched, ImageMaker, Job, Made, Unwanted
from app.models import ErrorCode, ImageError, ImageResult, ImageStatus
from app.reuse import Reused

RECORD_IMAGES = 100
RECORD_BYTES = 16_777_216
RECORD_SECONDS = 0.2
"""What arrives meanwhile is recorded together, if it is not enough before."""

log = structlog.get_logger(__name__)

Outcome = Made | Reused | ImageResult
"""The image, where there is one already, or why there is none."""


class UnderWay:
    """`start` and `collect` are called by one thread; only an image's stages run in others.

    `awaited` counts what was started and not collected. What `is_held_back` is not begun any more.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        coders: Coders,
        maker: ImageMaker,
        is_held_back: Callable[[], bool],
    ):
        self._dispatcher = dispatcher
        self._coders = coders
        self._maker = maker
        self._is_held_back = is_held_back
        self._arrivals: deque[tuple[str, Outcome | Unavailable]] = deque()
        self._has_enough = threading.Event()
        self._begun: set[str] = set()
        self._is_over = False
        self.awaited = 0
        self._few = 0

    def is_wanted(self) -> bool:
        return not self._is_over

    def is_quiet(self) -> bool:
        """Whether nothing has been begun that is not collected."""
        return not (self._begun or self._arrivals)

    def call_few(self, count: int) -> None:
        """With so many to come or fewer the thread is woken too; with 0 it is not."""
        self._few = count

    def are_few(self) -> bool:
        return 0 < self.awaited <= self._few

    def abandon(self) -> None:
        """Nobody begins with the others any more."""
        self.awaited = 0

    def start(self, job: Job) -> None:
        self.awaited += 1
        self._dispatch(job)

    def collect(self) -> tuple[dict[str, Outcome], Unavailable | None]:
        """By URL, what arrives within RECORD_SECONDS or is enough; and what was away then."""
        arrived: dict[str, Outcome] = {}
        size_bytes = 0
        self._has_enough.wait(RECORD_SECONDS)
        self._has_enough.clear()
        while self._arrivals and len(arrived) < RECORD_IMAGES and size_bytes < RECORD_BYTES:
            url, arrival = self._arrivals.popleft()
            self.awaited -= 1
            if isinstance(arrival, Unavailable):
                return arrived, arrival
            arrived[url] = arrival
            size_bytes += len(arrival.content) if isinstance(arrival, Made) else 0
        if self._arrivals:  # too many for one go
            self._has_enough.set()
        return arrived, None

    def end(self) -> None:
        """Nobody collects any more; the memory that arrivals take is wanted by others."""
        self._is_over = True
        self._forget_arrivals()

    def _forget_arrivals(self) -> None:
        while self._arrivals:
            with suppress(IndexError):  # another thread was faster
                _, arrival = self._arrivals.popleft()
                if isinstance(arrival, Made):
                    arrival.room.release()

    def _dispatch(self, job: Job, after_seconds: float = 0) -> None:
        self._dispatcher.submit(
            job.request_id,
            host_of(job.url),
            partial(self._attempt, job, self._fetch),
            after_seconds=after_seconds,
        )

    def _fetch(self, job: Job) -> None:
        """In the dispatcher's threads."""
        if not self._is_held_back():
            self._begun.add(job.url)
            source = self._maker.fetch(job)
            if isinstance(source, Reused):
                self._hand_over(job, source)
                return
            self._coders.submit(partial(self._attempt, job, partial(self._code, source)))

    def _code(self, source: Fetched, job: Job) -> None:
        """In the coders' threads."""
        self._hand_over(job, self._maker.code(job, source))

    def _attempt(self, job: Job, stage: Callable[[Job], None]) -> None:
        """One stage of an image; what goes wrong is handed over, or tried again later."""
        try:
            stage(job)
        except Unwanted:
            pass
        except ImageFailed as error:
            self._try_again_or_fail(job, error)
        except Unavailable as error:
            self._hand_over(job, error)
        except Exception:  # the edge of the thread: nobody else would hear of it
            place = job.url.partition("?")[0]  # what follows may be the right to see the picture
            log.exception("image failed", request_id=job.request_id, url=place)
            message = "the service could not process it: its log says why"
            self._hand_over(job, _failed(ErrorCode.DECODE_FAILED, message, False))

    def _try_again_or_fail(self, job: Job, error: ImageFailed) -> None:
        wait_seconds = job.wait_before_next_try(error)
        if wait_seconds is None:
            self._hand_over(job, _failed(error.code, str(error), error.permanent))
        else:
            self._begun.discard(job.url)
            self._dispatch(job, wait_seconds)

    def _hand_over(self, job: Job, arrival: Outcome | Unavailable) -> None:
        """Wakes the segment's thread when there is enough to record, not for every image."""
        self._arrivals.append((job.url, arrival))
        self._begun.discard(job.url)
        if self._is_over:
            self._forget_arrivals()
        enough = min(RECORD_IMAGES, self.awaited - self._few)
        if len(self._arrivals) >= enough or isinstance(arrival, Unavailable):
            self._has_enough.set()


def _failed(code: str, message: str, permanent: bool) -> ImageResult:
    return ImageResult(ImageStatus.FAILED, error=ImageError(code, message, permanent))
