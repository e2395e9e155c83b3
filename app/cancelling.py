"""Whether a request is being cancelled, asked once for all its segments in this process.

Called by the pipeline, which hands each segment's run the answer as it changes.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.every import Every

POLL_SECONDS = 0.5


class Cancellation:
    """Of one request; false until it is seen to be cancelled, and true for ever after."""

    def __init__(self, look: Callable[[], bool]):
        self._look = look
        self._poll = Every(POLL_SECONDS, self._ask)
        self.runs = 0
        self.is_seen = False

    def look_when_due(self) -> None:
        """Asks the database every half second. Raises DatabaseUnavailable."""
        if not self.is_seen:
            self._poll.when_due()

    def _ask(self) -> None:
        self.is_seen |= self._look()


class Cancellations:
    """Those of the requests that have segments at work. Safe to call from any thread."""

    def __init__(self, look: Callable[[str], bool]):
        self._look = look
        self._lock = threading.Lock()
        self._watched: dict[tuple[str, int], Cancellation] = {}

    @contextmanager
    def watching(
        self, request_id: str, round_number: int, *, is_seen: bool
    ) -> Iterator[Cancellation]:
        """The same for every segment of a round, which a retry begins; forgotten with the last."""
        key = (request_id, round_number)
        with self._lock:
            cancellation = self._watched.setdefault(
                key, Cancellation(lambda: self._look(request_id))
            )
            cancellation.runs += 1
            cancellation.is_seen |= is_seen
        try:
            yield cancellation
        finally:
            with self._lock:
                cancellation.runs -= 1
                if not cancellation.runs:
                    del self._watched[key]
