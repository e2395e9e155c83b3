"""What is known of whether a bucket answers, so that nobody waits for one that does not.

Called by `s3` around every call. While the last one has failed, one in REST_SECONDS finds out
whether the bucket is back, and the others are refused at once with the reason: each would hold a
thread for as long as a silent bucket is put up with.
"""

import math
import threading
import time

from app.errors import StorageUnavailable

REST_SECONDS = 3.0
PROOF_SECONDS = 30.0
LONGEST_CALL_SECONDS = 60.0
"""Whoever finds out has so long, before another tries as well."""


class Patience:
    """The outcome of the last call, of all threads together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._next_try_at = 0.0
        self._seen_at = -math.inf

    def check(self) -> None:
        """Raises StorageUnavailable with the last reason, unless it is this caller's turn."""
        with self._lock:
            now = time.monotonic()
            if self._reason and now < self._next_try_at:
                raise StorageUnavailable(self._reason)
            self._next_try_at = now + LONGEST_CALL_SECONDS

    def succeeded(self) -> None:
        with self._lock:
            self._reason = None
            self._seen_at = time.monotonic()

    def undecided(self) -> None:
        """The caller whose turn it was found out nothing of the bucket: it is the next one's."""
        with self._lock:
            self._next_try_at = 0.0

    def failed(self, reason: str) -> None:
        with self._lock:
            self._reason = reason
            self._next_try_at = time.monotonic() + REST_SECONDS

    def needs_proof(self) -> bool:
        """Whether no call has succeeded for PROOF_SECONDS; one caller at a time is told so."""
        with self._lock:
            now = time.monotonic()
            if self._reason is None and now - self._seen_at < PROOF_SECONDS:
                return False
            self._seen_at = now
            return True
