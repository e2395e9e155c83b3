"""An origin and a webhook receiver: `python -m tests.chaos.origin_process`.

Prints its port, and ends when its standard input closes. Everything is chosen by the path, so that
trials that share it need not agree on anything but names:

    GET  /image/<number>.jpg?delay_ms=20   a small photograph, another for every number
    GET  /killer/<number>.jpg              the same, with `KILLER` in a comment
    GET  /gate/<name>/<number>.jpg         the same, once `PUT /gate/<name>` has been called
    PUT  /hook/<name>                      a JSON list: the statuses that the next posts get
    POST /hook/<name>                      a webhook; 200 when the list has run out
    GET  /hook/<name>                      all that was posted there
    GET  /counts                           how often each image was asked for
"""

import io
import json
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image

KILLER = b"ends the process that codes it"
_GATE_SECONDS = 60


@cache
def photograph(number, comment=b""):
    """160 × 120 pixels of soft noise, about 8 KB, which coding at quality 50 makes smaller."""
    noise = random.Random(number)
    small = Image.frombytes("RGB", (40, 30), noise.randbytes(40 * 30 * 3))
    file = io.BytesIO()
    small.resize((160, 120), Image.Resampling.BICUBIC).save(
        file, "JPEG", quality=92, comment=comment
    )
    return file.getvalue()


class State:
    """What was asked for and posted, and which gates are open. Used from many threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = Counter()
        self.posted = defaultdict(list)
        self.answers = defaultdict(list)
        self.gates = defaultdict(threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state = State()

    def do_GET(self):
        parts = urlsplit(self.path)
        _, kind, *rest = parts.path.split("/")
        if kind not in ("counts", "hook"):
            with self.state.lock:
                self.state.counts[parts.path] += 1
        if kind == "counts":
            self._reply(200, json.dumps(self.state.counts).encode())
        elif kind == "hook":
            with self.state.lock:
                posted = json.dumps(self.state.posted[rest[0]])
            self._reply(200, posted.encode())
        elif kind in ("image", "killer", "gate"):
            self._serve_image(kind, rest, parse_qs(parts.query))
        else:
            self._reply(404, b"")

    def do_PUT(self):
        body = self._body()
        _, kind, name = self.path.split("/")
        with self.state.lock:
            if kind == "gate":
                self.state.gates[name].set()
            else:
                self.state.answers[name] = json.loads(body)
        self._reply(200, b"")

    def do_POST(self):
        body = self._body().decode()
        name = self.path.split("/")[2]
        headers = {key.lower(): value for key, value in self.headers.items()}
        with self.state.lock:
            self.state.posted[name].append({"headers": headers, "body": body, "at": time.time()})
            answers = self.state.answers[name]
            status = answers.pop(0) if answers else 200
        redirect = f"http://{self.headers['host']}/hook/{name}-redirected"
        self._reply(status, b"", location=redirect if status == 302 else None)

    def log_message(self, *_):
        pass

    def _serve_image(self, kind, rest, query):
        time.sleep(int(query.get("delay_ms", ["0"])[0]) / 1000)
        if kind == "gate":
            with self.state.lock:
                gate = self.state.gates[rest[0]]
            gate.wait(_GATE_SECONDS)
        number = int(rest[-1].removesuffix(".jpg"))
        self._reply(200, photograph(number, KILLER if kind == "killer" else b""))

    def _body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _reply(self, status, body, location=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_):
        """Whoever was killed had connections here."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
