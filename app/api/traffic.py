"""Every HTTP request that is answered: a line in the log, and a count for `GET /metrics`.

A path is logged without its query, which may hold what is nobody's business. Registered before all
else, so that it sees first what comes and last what goes.
"""

import re
import time

import structlog
from flask import Flask, Response, g, request

from app.metrics import Metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: told at DEBUG only."""
_SHOWN_CHARACTERS = 500
_IMAGE_DIGEST = re.compile(r"-[0-9a-f]{12}(?=\.[a-z]+$)")
"""Whoever knows it may open the image."""

log = structlog.get_logger(__name__)


def register_traffic(app: Flask, metrics: Metrics) -> None:
    @app.before_request
    def begin() -> None:
        """What is logged from now on says which request it is about."""
        g.began_at = time.monotonic()
        structlog.contextvars.clear_contextvars()  # the thread has served others before
        if request_id := (request.view_args or {}).get("request_id"):
            structlog.contextvars.bind_contextvars(request_id=request_id)

    @app.after_request
    def end(response: Response) -> Response:
        seconds = time.monotonic() - g.began_at
        metrics.http_answered(_method(), _route(), response.status_code, seconds)
        tell = log.debug if _route() in _PROBES else log.info
        tell(
            "http",
            method=_method(),
            path=_IMAGE_DIGEST.sub("-…", request.path[:_SHOWN_CHARACTERS]),
            status=response.status_code,
            elapsed_ms=round(seconds * 1000, 1),
        )
        return response


def register_routes(app: Flask, metrics: Metrics) -> None:
    """Once all are there."""
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            metrics.http_expected(method, rule.rule)


def _method() -> str:
    """A caller may send any word."""
    return request.method if request.method in _METHODS else "other"


def _route() -> str:
    """The rule and not the path, of which there are as many as ids."""
    return request.url_rule.rule if request.url_rule else "unknown"
