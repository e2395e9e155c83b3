"""The real service as a process: `python run.py` with folders of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import requests

PROJECT = Path(__file__).parents[1]
PATIENCE_SECONDS = 30


class ServiceProcess:
    """`url` is where it listens; `process` is ended when the context that made it ends."""

    def __init__(self, folder, port, process, log_path):
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self.log_path = log_path

    def log(self):
        return self.log_path.read_text()

    def wait_until_ready(self):
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, self.log()
            try:
                if requests.get(f"{self.url}/readyz", timeout=5).ok:
                    return self
            except requests.ConnectionError:
                time.sleep(0.02)
        raise AssertionError(self.log())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(folder, port, **settings):
    """What the service reads, and nothing of the developer's own; empty means the default."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ
    }
    own = {
        "PORT": str(port),
        "DATA_DIR": str(folder / "data"),
        "UPLOAD_DIR": str(folder / "uploads"),
        "PROCESSED_DIR": str(folder / "processed"),
        "OUTPUT_DIR": str(folder / "outputs"),
        "MIN_FREE_BYTES": "0",
        "ALLOWED_ADDRESSES": "127.0.0.0/8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return inherited | own | {name: str(value) for name, value in settings.items()}


@contextmanager
def logged_process(command, log_path, folder, port, **settings):
    """Python with that command; it is ended however the test ends."""
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=PROJECT,
            env=environment(folder, port, **settings),
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def service_process(folder, *, command=("run.py",), **settings):
    """A service that was started, and is ended however the test ends."""
    port = free_port()
    log_path = folder / "service.log"
    with logged_process(command, log_path, folder, port, **settings) as process:
        yield ServiceProcess(folder, port, process, log_path)
