"""The web server: waitress, which reads a request whole before a thread sees it.

So slow clients cost a connection, never a thread (figures in docs/decisions.md). Called by run.py
and the demo.
"""

import json
import socket
import sys
import tempfile
from typing import Any

from flask import Flask
from waitress.adjustments import Adjustments
from waitress.server import create_server
from waitress.task import ErrorTask, WSGITask

from app.budget import Budget
from app.config import Settings
from app.errors import SettingsError, Unavailable
from app.receiving import BODY_IN_MEMORY_BYTES, HEADER_BYTES, Channel, Parser

if sys.platform != "win32":
    import resource

_CONNECTIONS = 2_000
_OPEN_FILES = 65_536
_FILES_BESIDE = 450
"""Webhooks under way (256), connections to the database (100), what is read and written."""
_FILES_A_DOWNLOAD = 2
_FILES_A_CONNECTION = 2
"""Its socket, and the body that it sends or the file that it is sent."""
_FEWEST_CONNECTIONS = 50
_SILENT_SECONDS = 60
_FORM_BYTES = 2 * 1_048_576
"""Room above the file, so that the application tells what is too large."""
_BODIES_AT_ONCE = 4
"""So many of the largest may be received at once, or more of smaller ones. By default they and the
copies that forms are read into stay within MIN_FREE_BYTES."""
_REPLY_IN_MEMORY_BYTES = 65_536
_SENTENCES = {
    413: "the body is larger than MAX_CSV_BYTES allows: split the file into several",
    431: "the headers are too large: send fewer",
}


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
            f"try another: PORT={settings.port % 65535 + 1} make run"
        ) from error


def make_server(app: Flask, settings: Settings, listener: socket.socket) -> Any:
    """A server whose `run()` serves until `close()`. Raises SettingsError."""
    _spool_bodies_beside_the_data(settings)
    max_body_bytes = settings.max_csv_bytes + _FORM_BYTES
    server = create_server(
        app,
        sockets=[listener],
        threads=settings.web_threads,
        connection_limit=connection_limit(_raise_open_files(), settings.download_workers),
        asyncore_use_poll=True,
        channel_timeout=_SILENT_SECONDS,
        clear_untrusted_proxy_headers=not settings.trusted_proxies,  # create_app judges them
        max_request_body_size=max_body_bytes,
        max_request_header_size=HEADER_BYTES,
        inbuf_overflow=BODY_IN_MEMORY_BYTES,
        outbuf_overflow=_REPLY_IN_MEMORY_BYTES,
        ident="Pressroom",
    )
    bodies = Budget(_BODIES_AT_ONCE * max_body_bytes)
    server.channel_class = _channel_class(bodies, settings.min_free_bytes)
    return server


def connection_limit(open_files: int, download_workers: int) -> int:
    """How many connections leave the work enough of the files that the process may open.

    One more would make accept() fail at once and for ever, and the work with it.
    """
    ours = _FILES_BESIDE + _FILES_A_DOWNLOAD * download_workers
    return max(_FEWEST_CONNECTIONS, min(_CONNECTIONS, (open_files - ours) // _FILES_A_CONNECTION))


def _raise_open_files() -> int:
    """The usual soft limit of 1,024 is for programs that call select(); nothing here does."""
    if sys.platform == "win32":
        return _OPEN_FILES
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (_OPEN_FILES if n == resource.RLIM_INFINITY else n for n in limits)
    open_files = max(soft, min(hard, _OPEN_FILES))
    if open_files > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, limits[1]))
    return open_files


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what is no HTTP, or too much of it, before the application sees it."""

    def execute(self) -> None:
        error = self.request.error
        reason = error.body if error.code == 503 else f"{error.reason}: {error.body}"
        sentence = _SENTENCES.get(error.code, reason)
        body = json.dumps({"error": sentence}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        if error.code == 503:
            self.response_headers.append(("Retry-After", str(Unavailable.retry_after_seconds)))
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class _LastTask(WSGITask):  # type: ignore[misc]
    """Answers the first of requests that came in one piece and hangs up on the others.

    Before going on to the next, a thread would wait until the client has read the reply.
    """

    def service(self) -> None:
        if len(self.channel.requests) > 1:
            self.set_close_on_finish()
        super().service()


def _channel_class(bodies: Budget, min_free_bytes: int) -> type[Channel]:
    """waitress makes a channel a connection, and a channel a parser a request."""

    class ServiceChannel(Channel):
        task_class = _LastTask
        error_task_class = _JsonErrorTask

        def parser_class(self, adj: Adjustments) -> Parser:
            return Parser(adj, bodies, min_free_bytes)

    return ServiceChannel


def _spool_bodies_beside_the_data(settings: Settings) -> None:
    """The system's temporary folder may be memory, and is seldom as large as the data's disk."""
    folder = settings.data_dir / "tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DATA_DIR: {settings.data_dir} cannot be used as a folder ({error.strerror})"
        ) from error
    tempfile.tempdir = str(folder)
