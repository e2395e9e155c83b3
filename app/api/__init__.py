"""The HTTP API, one blueprint a file. Views read in three beats: parse, call, reply.

`create_app` calls `register_api`; the views call intake, exports and the database, and know
neither documents nor files.
"""

import threading
from functools import partial

import structlog
from flask import Flask
from flask.json.provider import DefaultJSONProvider

from app.api.cancel import blueprint as cancel
from app.api.docs import blueprint as docs
from app.api.download import blueprint as download
from app.api.errors import register_errors
from app.api.guards import register_guards
from app.api.health import blueprint as health
from app.api.images_zip import blueprint as images_zip
from app.api.lazy import NOT_SET_UP, LazyServices
from app.api.metrics import blueprint as metrics
from app.api.metrics import register_metrics
from app.api.owner import register_owner
from app.api.page import blueprint as page
from app.api.processed import blueprint as processed
from app.api.redeliver import blueprint as redeliver
from app.api.requests import blueprint as requests
from app.api.retry import blueprint as retry
from app.api.samples import blueprint as samples
from app.api.savings import blueprint as savings
from app.api.session import blueprint as session
from app.api.status import blueprint as status
from app.api.traffic import register_routes, register_traffic
from app.api.upload import blueprint as upload
from app.api.webhook import blueprint as webhook
from app.config import Settings
from app.errors import SettingsError, Unavailable
from app.services import Services, build, build_metrics

log = structlog.get_logger(__name__)


def register_api(app: Flask, settings: Settings, services: Services | None) -> None:
    """Everything the app serves, and what the views share, in `app.extensions`.

    At most a quarter of the web threads may hold a `pressroom_slots` permit, to wait or to stream,
    and half of them read from a bucket, so that short requests always find a thread.
    """
    shared = services.shared_metrics if services else build_metrics(settings)
    register_metrics(app, shared)
    register_traffic(app, shared.metrics)
    app.extensions["pressroom"] = LazyServices(
        settings, services, build=partial(build, shared_metrics=shared)
    )
    app.extensions["pressroom_slots"] = threading.BoundedSemaphore(
        max(1, settings.web_threads // 4)
    )
    app.extensions["pressroom_readers"] = (
        threading.BoundedSemaphore(settings.web_threads // 2) if settings.storage_url else None
    )
    app.json = _Json(app)
    app.url_map.merge_slashes = False  # it redirects, with a page of HTML
    for blueprint in (
        upload,
        status,
        download,
        images_zip,
        redeliver,
        processed,
        samples,
        webhook,
        health,
        metrics,
        retry,
        cancel,
        requests,
        session,
        page,
        savings,
        docs,
    ):
        app.register_blueprint(blueprint)
    register_routes(app, shared.metrics)
    register_errors(app)
    register_guards(app, settings)
    register_owner(app, settings.keys)


def refuse_all(app: Flask, error: SettingsError) -> None:
    """Instead of the above, where there are no settings to serve with."""

    def refuse() -> None:
        log.error("settings cannot be used", reason=str(error))
        raise Unavailable(NOT_SET_UP)

    register_errors(app)
    app.before_request(refuse)


class _Json(DefaultJSONProvider):
    """Fields in the order that the contract shows them in, text as it is."""

    sort_keys = False
    ensure_ascii = False
