"""`GET /metrics` for Prometheus: of all processes that share DATA_DIR, and of the database.

It answers while the database is away, without what only that knows.
"""

import threading
import time
from typing import cast

from flask import Blueprint, Flask, Response, current_app

from app.api.described import Reply, describe
from app.api.lazy import LazyServices, lazy_services
from app.api.parsing import NoParameters, read_query
from app.config import VERSION
from app.database import deadline
from app.errors import Unavailable
from app.metrics import Key, Snapshot, meters
from app.metrics.sharing import SharedMetrics
from app.metrics.text import CONTENT_TYPE, text_of
from app.models import Load

KEPT_SECONDS = 5.0
"""However many scrape, the database counts no more often."""
PATIENCE_SECONDS = 2.0
PING_SECONDS = 1.0

blueprint = Blueprint("metrics", __name__)


def register_metrics(app: Flask, shared: SharedMetrics) -> None:
    app.extensions["pressroom_metrics"] = shared
    app.extensions["pressroom_load"] = _KeptLoad()


@blueprint.get("/metrics")
@describe(
    "service",
    "Figures for Prometheus, of all processes of this machine",
    replies={200: Reply("in its text format", media_types=("text/plain",))},
)
def show_metrics() -> Response:
    read_query(NoParameters)
    shared = cast(SharedMetrics, current_app.extensions["pressroom_metrics"])
    kept = cast(_KeptLoad, current_app.extensions["pressroom_load"])
    whole = shared.whole()
    is_up, load = kept.read(lazy_services())
    whole.add(Snapshot(gauges=_gauges(load, is_up=is_up)))
    return Response(text_of(whole), content_type=CONTENT_TYPE)


class _KeptLoad:
    """What the database last said, for a while; also that it said nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = -KEPT_SECONDS
        self._found: tuple[bool, Load | None] = False, None

    def read(self, lazy: LazyServices) -> tuple[bool, Load | None]:
        """Whether it answers, and what."""
        with self._lock:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                self._found = _read_load(lazy)
                self._read_at = time.monotonic()
            return self._found


def _read_load(lazy: LazyServices) -> tuple[bool, Load | None]:
    """A database that takes too long to count is not away: nobody shall be woken for that."""
    try:
        database = lazy.get(PATIENCE_SECONDS).database
        try:
            with deadline(PATIENCE_SECONDS):
                return True, database.loads.read()
        except Unavailable:
            database.ping(PING_SECONDS)
            return True, None
    except Unavailable:
        return False, None


def _gauges(load: Load | None, *, is_up: bool) -> dict[Key, float]:
    gauges: dict[Key, float] = {
        (meters.BUILD.name, (VERSION,)): 1,
        (meters.DATABASE_UP.name, ()): is_up,
    }
    if load is not None:
        gauges |= {(meters.REQUESTS.name, (state,)): n for state, n in load.requests.items()}
        gauges |= {(meters.SEGMENTS.name, (state,)): n for state, n in load.segments.items()}
        gauges[meters.PENDING_IMAGES.name, ()] = load.pending_images
        gauges[meters.PENDING_WEBHOOKS.name, ()] = load.pending_webhooks
    return gauges
