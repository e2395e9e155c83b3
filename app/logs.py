"""Logs: one event a line on stderr, identifiers as fields, as text or JSON. Set up at start.

A line holds no secret and no folder of this machine, whatever a library puts into its message.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import structlog
from pydantic import SecretStr

from app.config import PROJECT_DIR, Settings
from app.keys import parse_api_keys

_FRAMES = 12
_SHORTEST_SECRET = 6
"""A shorter one would be found in words, and is none."""
_URI_PASSWORD = re.compile(r"://[^/@:]*:([^/@]+)@")
_URI_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def configure_logs(settings: Settings) -> None:
    """Sends structlog's events and those of the libraries through one formatter."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        Discreet(
            settings,
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.log_format),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every short queue
    logging.getLogger("pymongo").setLevel(logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # a broken file says it itself


def _renderers(log_format: str) -> list[Any]:
    if log_format == "json":
        return [structlog.processors.JSONRenderer()]
    return [_show_all, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]


def _show_all(_logger: Any, _method: str, event: Any) -> Any:
    """Before the renderer colours it: a caller's text shall not command somebody's terminal."""
    return {
        name: "".join(map(_shown, value)) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _shown(character: str) -> str:
    """Escape sequences, what ends a line and what turns its direction around, as Python writes
    them in a string."""
    return character if character.isprintable() else repr(character)[1:-1]


class Discreet(structlog.stdlib.ProcessorFormatter):
    """Formats an event as one line, and takes out of it what is nobody's business."""

    def __init__(self, settings: Settings, **kwargs: Any):
        super().__init__(**kwargs)
        secrets = {secret for secret in _secrets(settings) if len(secret) >= _SHORTEST_SECRET}
        secrets |= {json.dumps(secret)[1:-1] for secret in secrets}
        longest_first = sorted(secrets, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._folders = [(_beginning_with(path), name) for path, name in _folders(settings)]

    def format(self, record: logging.LogRecord) -> str:
        line = self._secrets.sub("***", super().format(record))
        line = _URI_LOGIN.sub("***@", line)
        for beginning, name in self._folders:
            line = beginning.sub(name, line)
        return line.replace("\r", "\\r").replace("\n", "\\n")


def _secrets(settings: Settings) -> Iterator[str]:
    yield from (key.text for key in parse_api_keys(settings.api_keys.get_secret_value()))
    yield from settings.webhook_secrets
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            yield value.get_secret_value()
    uris = (settings.mongodb_uri, settings.celery_broker_url)
    for uri in (*(uri.get_secret_value() for uri in uris), settings.proxy_url):
        if login := _URI_PASSWORD.search(uri):
            yield from (login[1], unquote(login[1]))


def _folders(settings: Settings) -> list[tuple[Path, str]]:
    """The deepest first; what is in the project's folder is told from there."""
    folders = {
        settings.data_dir: "DATA_DIR",
        settings.upload_dir: "UPLOAD_DIR",
        settings.processed_dir: "PROCESSED_DIR",
        settings.output_dir: "OUTPUT_DIR",
        PROJECT_DIR: ".",
    }
    return sorted(folders.items(), key=lambda item: len(item[0].parts), reverse=True)


def _beginning_with(folder: Path) -> re.Pattern[str]:
    """Where a path begins and not inside one or a URL; `/` alone never."""
    if folder == Path(folder.anchor):
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![\w./:-]){re.escape(str(folder))}(?![\w.-])")


def _tell_exception(_logger: Any, _method: str, event: Any) -> Any:
    """In place of a stack trace of many lines: what was raised, where, and called from where."""
    exc_info = event.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = " from ".join(map(_one_line, _chain(error)))
    return event


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        yield following
        seen.add(id(following))
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _one_line(error: BaseException) -> str:
    frames = reversed(traceback.extract_tb(error.__traceback__))
    places = [f"{_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__}: {error} (at {' < '.join(places[:_FRAMES])})"


def _place(filename: str) -> str:
    """Relative to the project or, for a library, to where libraries are."""
    path = Path(filename)
    if "site-packages" in path.parts:
        return path.as_posix().rpartition("/site-packages/")[2]
    if path.is_relative_to(PROJECT_DIR):
        return path.relative_to(PROJECT_DIR).as_posix()
    return path.name
