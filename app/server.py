"""The web server: waitress, which reads a request whole before a thread sees it.

So slow clients cost a connection, never a thread (figures in docs/decisions.md). Called by run.py
and the demo.
"""

import socket
import tempfile
from typing import Any

from flask import Flask
from waitress.server import create_server

from app.config import Settings
from app.errors import SettingsError

_CONNECTIONS = 2_000
_SILENT_SECONDS = 60
_FORM_BYTES = 2 * 1_048_576
"""Room above the file, so that a body that is too large is still answered with JSON."""


def listen(settings: Settings) -> socket.socket:
    """The service's listening socket. Raises SettingsError when the port cannot be had."""
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=1024,
        )
    except OSError as error:
        raise SettingsError(
            f"port {settings.port} of {settings.host} cannot be used ({error.strerror}); "
            f"try another: PORT={settings.port % 65535 + 1} python run.py"
        ) from error


def make_server(app: Flask, settings: Settings, listener: socket.socket) -> Any:
    """A server whose `run()` serves until `close()`."""
    _spool_bodies_beside_the_data(settings)
    return create_server(
        app,
        sockets=[listener],
        threads=settings.web_threads,
        connection_limit=_CONNECTIONS,
        asyncore_use_poll=True,
        channel_timeout=_SILENT_SECONDS,
        max_request_body_size=settings.max_csv_bytes + _FORM_BYTES,
        ident="Pressroom",
    )


def _spool_bodies_beside_the_data(settings: Settings) -> None:
    """The system's temporary folder may be memory, and is seldom as large as the data's disk."""
    folder = settings.data_dir / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)
