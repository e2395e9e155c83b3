"""The real service as a process with folders of its own, used over HTTP as its users do.

The end of a job is told by its webhook: asking for the status again and again would cost the
service time that the measure then counts.
"""

import csv
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from benchmarks import usage
from benchmarks.runs import NotMeasured
from tests.service_process import PROJECT, ServiceProcess, environment, free_port

STOP_SECONDS = 10
RUN = ("run.py",)


class Inbox:
    """Receives webhooks; knows when the one of each request came."""

    def __init__(self) -> None:
        self._arrived: dict[str, float] = {}
        self._changed = threading.Condition()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                at = time.perf_counter()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.put(body["request_id"], at)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def has(self, request_id: str) -> bool:
        return request_id in self._arrived

    def put(self, request_id: str, at: float) -> None:
        with self._changed:
            self._arrived[request_id] = at
            self._changed.notify_all()

    def take(self, request_id: str, timeout_seconds: float) -> float:
        """When it came, by `time.perf_counter`. Raises NotMeasured."""
        with self._changed:
            if not self._changed.wait_for(lambda: request_id in self._arrived, timeout_seconds):
                raise NotMeasured(f"the job had not ended after {timeout_seconds} s")
            return self._arrived.pop(request_id)


@dataclass(frozen=True)
class Job:
    """A job that ended; `seconds` from the upload to the webhook, CPU of all that was meanwhile."""

    request_id: str
    seconds: float
    progress: dict[str, Any]
    service_cpu_seconds: float
    database_cpu_seconds: float


class Service:
    """A running service; `pid` is that of run.py, whose children are its own."""

    def __init__(self, process: ServiceProcess, inbox: Inbox):
        self.url = process.url
        self.pid = process.process.pid
        self.folder = process.folder
        self._inbox = inbox
        self._process = process
        self._session = requests.Session()

    def upload(self, catalog: bytes) -> str:
        """The request id of an accepted CSV. Raises NotMeasured."""
        return self.send(self.prepared_upload(catalog))

    def prepared_upload(self, catalog: bytes) -> requests.PreparedRequest:
        files = {"file": ("catalog.csv", catalog)}
        form = {"webhook_url": self._inbox.url}
        return requests.Request("POST", f"{self.url}/upload", files=files, data=form).prepare()

    def send(self, upload: requests.PreparedRequest) -> str:
        reply = self._session.send(upload, timeout=600)
        if reply.status_code != 202:
            raise NotMeasured(f"the upload was answered {reply.status_code}: {reply.text}")
        return str(reply.json()["request_id"])

    def has_ended(self, request_id: str) -> bool:
        return self._inbox.has(request_id)

    def wait(self, request_id: str, timeout_seconds: float = 3600) -> float:
        """When it ended, by `time.perf_counter`."""
        return self._inbox.take(request_id, timeout_seconds)

    def run(self, urls: Iterable[str]) -> Job:
        """A whole job, none of whose images fails. Raises NotMeasured."""
        catalog = catalog_of(urls)
        before = usage.cpu(self.pid)
        began = time.perf_counter()
        request_id = self.upload(catalog)
        seconds = self.wait(request_id) - began
        after = usage.cpu(self.pid)
        status = self.get(f"/status/{request_id}?images=none").json()
        if status["status"] != "completed" or status["progress"]["failed"]:
            raise NotMeasured(f"the job went wrong: {status}\n{self._process.log()[-2000:]}")
        return Job(
            request_id,
            seconds,
            status["progress"],
            after.service_seconds - before.service_seconds,
            after.database_seconds - before.database_seconds,
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        return self._session.get(f"{self.url}{path}", timeout=600, **options)

    def warm_up(self) -> None:
        """A job of sample photographs, so that what is loaded on first use is loaded."""
        names = sorted(path.name for path in (PROJECT / "samples").glob("cat-*.jpg"))
        self.run(f"{self.url}/samples/{name}" for name in names)


@contextmanager
def running(
    folder: Path, inbox: Inbox, *, command: Iterable[str] = RUN, **settings: object
) -> Iterator[Service]:
    """A service on an empty database, ready; every setting that is not given has its default."""
    port = free_port()
    log_path = folder / "service.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=PROJECT,
            env=environment(folder, port, **settings),
            stdout=log,
            stderr=log,
        )
    try:
        service = ServiceProcess(folder, port, process, log_path)
        service.wait_until_ready()
        yield Service(service, inbox)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # a job was under way, which nobody needs any more
            process.kill()
            process.wait()


def catalog_of(urls: Iterable[str]) -> bytes:
    """A CSV of one image a row."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["S. No.", "Product Name", "Input Image Urls"])
    writer.writerows([number, f"Product {number}", url] for number, url in enumerate(urls, 1))
    return text.getvalue().encode()
