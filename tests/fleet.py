"""What ENGINE=celery needs besides the service: a Redis of the test's own, and workers."""

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

from tests.service_process import free_port, logged_process

REDIS = shutil.which("redis-server")
WORKER = [
    "-m",
    "celery",
    "-A",
    "app.engine.celery",
    "worker",
    "--without-gossip",
    "--without-mingle",
]
START_SECONDS = 30

needs_redis = pytest.mark.skipif(not REDIS, reason="needs Redis: apt-get install redis-server")


class Redis:
    """A server on a port of loopback that keeps nothing on the disk; may be killed and started."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.process = None

    def start(self):
        command = [REDIS, "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        with (self._folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([*command, "--dir", self._folder], stdout=log)
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.02)
        raise AssertionError("Redis did not start")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()


@contextmanager
def redis(folder):
    server = Redis(folder)
    try:
        yield server.start()
    finally:
        server.kill()


@contextmanager
def worker_process(folder, port, *, command=WORKER, **settings):
    """A worker beside the service of that folder and port; its log is `worker.log`."""
    with logged_process(command, folder / "worker.log", folder, port, **settings) as process:
        yield process
