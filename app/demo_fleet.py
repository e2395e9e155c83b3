"""What the demo needs beside the service when its settings ask for more than one machine.

In: the demo's settings. Out: the same with the addresses of what was started here, all of it on
loopback and ended with the demo. Called by `demo`.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pydantic import SecretStr

from app.config import PROJECT_DIR, Settings
from app.database.private_server import PrivateServer
from app.demo_bucket import find_ports, has_bucket, remove_sockets, start_server
from app.errors import SettingsError

PATIENCE_SECONDS = 20
BUCKET = "pictures"
WORKER = [sys.executable, "-m", "celery", "--quiet", "-A", "app.engine.celery", "worker"]


@contextmanager
def what_it_needs(settings: Settings) -> Iterator[Settings]:
    """Redis, MongoDB and a bucket, then the worker: it is told the addresses of the others.

    Raises SettingsError with the package that a missing one comes in.
    """
    with ExitStack() as stack:
        if settings.engine == "celery":
            found = {"celery_broker_url": stack.enter_context(_redis(settings))}
            found["mongodb_uri"] = stack.enter_context(_mongodb(settings))
            found |= stack.enter_context(_bucket(settings))
            settings = settings.model_copy(update=found)
            stack.enter_context(_running(WORKER, _environment(settings)))
        yield settings


@contextmanager
def _redis(settings: Settings) -> Iterator[SecretStr]:
    program = shutil.which("redis-server")
    if not program:
        raise SettingsError("ENGINE=celery: the demo needs Redis: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    keeps_nothing = ["--save", "", "--dir", str(settings.data_dir), "--loglevel", "warning"]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), *keeps_nothing]
    with _running(command, dict(os.environ)):
        _wait_until(lambda: _listens(port), "Redis")
        yield SecretStr(f"redis://127.0.0.1:{port}/0")


@contextmanager
def _mongodb(settings: Settings) -> Iterator[SecretStr]:
    server = PrivateServer(settings.data_dir)
    try:
        yield SecretStr(server.start())
    finally:
        server.stop()


@contextmanager
def _bucket(settings: Settings) -> Iterator[dict[str, Any]]:
    folder = settings.data_dir / "bucket"
    key, secret = "demo", secrets.token_hex(16)
    owner = {
        "name": key,
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    ports = find_ports(os.getpid() % 9_000)
    server = start_server(folder, ports, [owner])
    filer_url, s3_url = (f"http://127.0.0.1:{ports[name]}" for name in ("filer", "s3"))
    try:
        _wait_until(lambda: has_bucket(filer_url, s3_url, BUCKET), "S3 server")
        yield {
            "storage_url": f"s3://{BUCKET}/demo",
            "aws_endpoint_url": s3_url,
            "aws_access_key_id": key,
            "aws_secret_access_key": SecretStr(secret),
        }
    finally:
        server.kill()
        server.wait()
        remove_sockets(ports)


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603 (no part of it comes from a caller)
        command, cwd=PROJECT_DIR, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(is_there: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_there():
        if time.monotonic() > give_up_at:
            raise SettingsError(f"ENGINE=celery: the demo's {what} did not start")
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _environment(settings: Settings) -> dict[str, str]:
    """The demo's own settings, before what `.env` says."""
    return dict(os.environ) | {
        name.upper(): _text(getattr(settings, name)) for name in type(settings).model_fields
    }


def _text(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
