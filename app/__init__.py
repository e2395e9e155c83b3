"""Pressroom: bulk image compression, from a CSV of URLs to a CSV of smaller images."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.config import Settings
    from app.services import Services

_FORM_BYTES = 1_048_576
"""All of a form but its file."""
_FORM_PARTS = 100


def create_app(settings: "Settings | None" = None, services: "Services | None" = None) -> "Flask":
    """The web application; without `settings` they are read from the environment and `.env`.

    Nothing is connected to yet, so it may be made before a fork and while the database is away:
    without `services`, the first request that needs them starts them. `extensions["pressroom"]`
    is the `LazyServices` to stop in the end.
    """
    # Here and not at the top: workers import this package too, and need no Flask.
    from flask import Flask
    from werkzeug.middleware.proxy_fix import ProxyFix

    from app.api import refuse_all, register_api
    from app.cli import register_commands
    from app.config import read_settings
    from app.errors import SettingsError

    app = Flask(__name__, static_folder=None)
    register_commands(app)
    try:
        settings = settings or (services.settings if services else read_settings())
    except SettingsError as error:
        if "FLASK_RUN_FROM_CLI" not in os.environ:  # set by Flask's command, and nobody else
            raise
        refuse_all(app, error)
        return app
    app.config["MAX_CONTENT_LENGTH"] = settings.max_csv_bytes + _FORM_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = _FORM_BYTES
    app.config["MAX_FORM_PARTS"] = _FORM_PARTS
    if hops := settings.trusted_proxies:  # not their X-Forwarded-Host: see app/api/guards.py
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    register_api(app, settings, services)
    return app
