"""One trial's world: folders, ports, service processes and a client, all gone when it ends.

    with World(checkout, origin) as world:
        life = world.start()
        request_id = world.upload(catalogue)
        life.kill()
        world.start()
        world.wait_for_end(request_id)

The service is `python run.py` in a copy of the project, where no developer's `.env` lies. Its log
goes to a file a life; they are printed when the trial fails.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import requests
from pymongo import MongoClient

from tests.chaos.stored import Folders
from tests.fleet import WORKER

PROJECT = Path(__file__).parents[2]
SECRET = "whsec_Y2hhb3MgY2hhb3MgY2hhb3MgY2hhb3MgY2hhb3M="
PATIENCE_SECONDS = 60
_SHOWN_LINES = 60
_SHOWN_LIVES = 8


def copy_checkout(folder):
    """The service without tests, data or `.env`; a copy, since it finds its folder by its files."""
    shutil.copytree(PROJECT / "app", folder / "app")
    shutil.copy2(PROJECT / "run.py", folder)
    (folder / "samples").symlink_to(PROJECT / "samples")
    return folder


class World:
    def __init__(self, checkout, origin, **settings):
        self.checkout = checkout
        self.origin = origin
        # Not pytest's folder: the socket of mongod must fit into 100 bytes below it.
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        self.name = self.folder.name
        self.settings = settings
        self.stored = Folders(self.folder)
        self.port = free_port()
        self.lives = []
        self.workers = []
        self.notes = []
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()
        for life in [*self.lives, *self.workers]:
            life.kill()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.processes(), "all processes gone")
        shutil.rmtree(self.folder)

    # Processes

    def start(self, plan=None, **settings):
        """A new life of the service. With a `plan` it is `wrapped.py`, which says what that is."""
        port = settings.get("PORT", self.port)
        program = ["run.py"] if plan is None else [str(Path(__file__).parent / "wrapped.py")]
        return self._begin(self.lives, program, port, plan, settings)

    def start_worker(self, **settings):
        """A new life of a worker of ENGINE=celery."""
        return self._begin(self.workers, WORKER, self.port, None, settings)

    def _begin(self, lives, program, port, plan, settings):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | {
            name: str(value)
            for name, value in {
                "PORT": port,
                "BASE_URL": f"http://127.0.0.1:{port}",
                "DATA_DIR": self.folder / "data",
                "UPLOAD_DIR": self.folder / "uploads",
                "PROCESSED_DIR": self.folder / "processed",
                "OUTPUT_DIR": self.folder / "outputs",
                "MIN_FREE_BYTES": 0,
                "ALLOWED_ADDRESSES": "127.0.0.1",
                "WEBHOOK_SECRET": SECRET,
                "PYTHONPATH": self.checkout,
                "CHAOS_PLAN": json.dumps(plan or {}),
                **self.settings,
                **settings,
            }.items()
        }
        kind = "worker" if lives is self.workers else "life"
        log_path = self.folder / f"{kind}-{len(lives) + 1:03}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *program],
                cwd=self.checkout,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        life = Life(process, log_path, f"http://127.0.0.1:{port}")
        lives.append(life)
        return life

    @property
    def life(self):
        return self.lives[-1]

    def processes(self):
        """Pids of this world's processes: services, their workers, mongod."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                    if os.fsencode(self.folder) in told:
                        found.append(int(entry.name))
        return found

    def mongod(self):
        """The pid of the private server; None while there is none."""
        for pid in self.processes():
            with suppress(OSError):
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if arguments[0].endswith(b"/mongod"):
                    return pid
        return None

    def database(self):
        """A client on the private server, to be closed by the caller; and its database."""
        place = (self.folder / "data/mongodb/owner").read_text()
        client = MongoClient(f"mongodb://{quote(place, safe='')}", tz_aware=True)
        return client, client["image_processor"]

    # As a client of the service

    def post_upload(self, catalogue, hook=None, key=None, **fields):
        """The reply, whatever it is; its webhook goes to a hook of the origin."""
        if hook:
            fields["webhook_url"] = self.origin.hook(hook)
        return requests.post(
            f"{self.life.url}/upload",
            files={"file": ("catalog.csv", catalogue)},
            data=fields,
            headers={"Idempotency-Key": key} if key else None,
            timeout=PATIENCE_SECONDS,
        )

    def upload(self, catalogue, hook=None, key=None):
        """The id of an accepted request."""
        reply = self.post_upload(catalogue, hook, key)
        assert reply.status_code == 202, reply.text
        return reply.json()["request_id"]

    def get(self, path, timeout_seconds=30):
        return self._session.get(self.life.url + path, timeout=timeout_seconds)

    def ask(self, method, path):
        """The status code; None when the service has died over it."""
        try:
            return self._session.request(method, self.life.url + path, timeout=30).status_code
        except requests.ConnectionError:
            return None

    def status(self, request_id):
        """The status document without images; None while the service cannot say."""
        try:
            reply = self.get(f"/status/{request_id}?images=none")
        except requests.RequestException:
            return None
        assert reply.status_code in (200, 503), f"{reply.status_code} {reply.text}"
        return reply.json() if reply.ok else None

    def done(self, request_id):
        """How many of its images have been dealt with; 0 while the service cannot say."""
        status = self.status(request_id)
        return status["progress"]["total"] - status["progress"]["remaining"] if status else 0

    def has_ended(self, request_id):
        status = self.status(request_id)
        return status is not None and status["status"] != "processing"

    def wait_for_end(self, request_id, seconds=PATIENCE_SECONDS):
        wait_for(lambda: self.has_ended(request_id), f"the end of {request_id}", seconds)

    def note(self, text):
        """Keeps what is worth knowing when the trial fails."""
        self.notes.append(text)

    def print_logs(self):
        sys.stdout.write("\n".join([*self.notes, ""]))
        for life in [*self.lives[-_SHOWN_LIVES:], *self.workers[-_SHOWN_LIVES:]]:
            lines = life.log().splitlines()[-_SHOWN_LINES:]
            sys.stdout.write("\n".join([f"--- {life.log_path.name}", *lines, ""]))


class Life:
    """One process of the service, from its start to its death."""

    def __init__(self, process, log_path, url):
        self.process = process
        self.log_path = log_path
        self.url = url
        self.born_at = time.monotonic()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_until_ready(self, seconds=PATIENCE_SECONDS):
        wait_for(self.is_ready, "the service to be ready", seconds)
        return self

    def is_ready(self):
        assert self.process.poll() is None, self.log()
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        return False

    def kill_at_age(self, seconds):
        """kill -9 that long after its start; the trial is that it comes at no state."""
        time.sleep(max(0.0, self.born_at + seconds - time.monotonic()))
        self.kill()

    def kill_after(self, seconds):
        """kill -9 that long from now."""
        time.sleep(seconds)
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait_for_death(self, seconds=PATIENCE_SECONDS):
        """Its exit code, once it has ended by itself."""
        return self.process.wait(seconds)

    def stop(self, seconds=PATIENCE_SECONDS):
        """SIGTERM; the exit code and the seconds it took."""
        begun_at = time.monotonic()
        self.process.terminate()
        code = self.process.wait(seconds)
        return code, time.monotonic() - begun_at


def wait_for(look, what, seconds=PATIENCE_SECONDS):
    """What `look` finds, once that is true."""
    give_up_at = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < give_up_at, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
