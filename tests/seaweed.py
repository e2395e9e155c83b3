"""A real S3 server for tests: SeaweedFS, on loopback only, one for all workers of pytest-xdist.

Whoever uses it holds a shared lock, which the kernel takes back however they end. A keeper (this
module run as a program) starts the server, and ends it once it gets the lock for itself alone.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from app.demo_bucket import find_ports, has_bucket, remove_sockets, start_server

BUCKET = "pictures"
PATIENCE_SECONDS = 60
OWNER = ("owner", "the-owner-s-secret")
READER = ("reader", "the-reader-s-secret")
"""Who may read the bucket and not write to it."""
_IDENTITIES = [
    {
        "name": "owner",
        "credentials": [{"accessKey": OWNER[0], "secretKey": OWNER[1]}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    },
    {
        "name": "reader",
        "credentials": [{"accessKey": READER[0], "secretKey": READER[1]}],
        "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
    },
    {"name": "anonymous", "actions": [f"Read:{BUCKET}"]},
]
_PROJECT = Path(__file__).parents[1]
_PR_SET_PDEATHSIG = 1


@contextmanager
def shared_server(folder):
    """Where it answers: `{"s3": url, "filer": url}`; started by the first who wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (folder / "starting").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not (folder / "urls.json").exists():
                _start_keeper(folder)
                _await(lambda: (folder / "urls.json").exists(), folder)
        yield json.loads((folder / "urls.json").read_text())


def make_bucket(urls, name):
    requests.post(f"{urls['filer']}/buckets/{name}/", timeout=10).raise_for_status()


def _start_keeper(folder):
    command = [sys.executable, "-m", "tests.seaweed", str(folder)]
    environment = dict(os.environ) | {"PYTHONPATH": str(_PROJECT)}
    log = os.open(folder / "keeper.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    files = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    os.posix_spawn(sys.executable, command, environment, file_actions=files, setsid=True)
    os.close(log)


def _keep(folder):
    ports = find_ports(os.getpid() % 9_000)
    server = _start_server(folder, ports)
    try:
        urls = {name: f"http://127.0.0.1:{ports[name]}" for name in ("s3", "filer")}
        _await(lambda: _answers(urls["s3"]) and _answers(urls["filer"]), folder)
        _await(lambda: has_bucket(urls["filer"], urls["s3"], BUCKET), folder)
        draft = folder / "urls.draft"
        draft.write_text(json.dumps(urls))
        draft.rename(folder / "urls.json")
        with (folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "urls.json").unlink()
            _end(server, folder, ports)
    finally:
        server.kill()


def _start_server(folder, ports):
    def end_with_the_keeper():
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return start_server(folder, ports, _IDENTITIES, end_with_the_keeper)


def _end(server, folder, ports):
    server.kill()  # it would take half a minute to end by itself
    server.wait()
    shutil.rmtree(folder / "data")
    remove_sockets(ports)


def _answers(url):
    with suppress(requests.ConnectionError):
        return requests.get(url, timeout=5).status_code < 500
    return False


def _await(look, folder):
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < give_up_at, (folder / "keeper.log").read_text()[-2_000:]
        time.sleep(0.05)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
