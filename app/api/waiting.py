"""`Prefer: wait=N` (RFC 7240): the reply to an upload waits for the request's end, if it may."""

import re
import time

import structlog
from flask import request
from werkzeug.http import parse_list_header

from app.api.bodies import status_body
from app.api.lazy import DATABASE_SECONDS, slots
from app.api.replies import Status
from app.database import deadline
from app.errors import Unavailable
from app.models import BatchStatus
from app.services import Services

MAX_WAIT_SECONDS = 60
_SHORTEST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5
_WAIT = re.compile(r'wait\s*=\s*"?([0-9]+)"?\s*', re.ASCII | re.IGNORECASE)

log = structlog.get_logger(__name__)


def wait_for_end(services: Services, request_id: str) -> tuple[Status | None, dict[str, str]]:
    """The status document if the request ended in time, and the headers to reply with.

    None without the wish to wait, and when too many wait already: the caller is answered at once.
    """
    seconds = preferred_wait_seconds(request.headers.getlist("Prefer"))
    if not seconds or not slots().acquire(blocking=False):
        return None, {}
    headers = {"Preference-Applied": f"wait={seconds}"}
    try:
        return _ended(services, request_id, time.monotonic() + seconds), headers
    except Unavailable as error:  # accepted is accepted: the caller must not send it again
        log.warning("wait broken off", request_id=request_id, reason=str(error))
        return None, {}
    finally:
        slots().release()


def preferred_wait_seconds(headers: list[str]) -> int:
    """Of several the first counts (RFC 7240, 2); 0 for none, and for what is no number."""
    for preference in parse_list_header(", ".join(headers)):
        wait = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if wait:
            return int(min(float(wait[1]), MAX_WAIT_SECONDS))
    return 0


def _ended(services: Services, request_id: str, give_up_at: float) -> Status | None:
    """Looks again and again, less often with time; a stop of the service ends it."""
    pause_seconds = _SHORTEST_PAUSE_SECONDS
    while True:
        with deadline(DATABASE_SECONDS):
            batch = services.database.batches.find(request_id)
            if batch is None:
                return None
            if batch.status is not BatchStatus.PROCESSING:
                return status_body(services, batch)
        pause_seconds = min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)
        remaining_seconds = give_up_at - time.monotonic()
        if remaining_seconds <= 0:
            return None
        if services.pipeline.stopping.wait(min(pause_seconds, remaining_seconds)):
            return None
