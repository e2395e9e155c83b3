"""A web server on loopback that behaves as badly as a test tells it to, and counts its requests.

    with Origin() as origin:
        origin.serve("/a.jpg", b"…")
        fetch(origin.url("/a.jpg"))
        assert origin.count("/a.jpg") == 1

HTTP/1.1 with keep-alive, a thread a connection, TLS with a certificate from `certificates`. It
parses only what well-behaved clients send. Leaving the block ends every connection and thread.
"""

import gzip
import ipaddress
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

_BOUND_SECONDS = 10
_PIECE_BYTES = 8_192


@dataclass(frozen=True)
class Request:
    """One request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False, default=b"")


class HangUp(Exception):
    """The connection ends here, whatever the answer announced."""


class Origin:
    def __init__(self, host="127.0.0.1", port=0, certificate=None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=512)
        self.host, self.port = host, self._listener.getsockname()[1]
        self._tls = _tls_context(certificate) if certificate else None
        self._answers = {}
        self._gates = []
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._connections = {}
        self._running, self._peaks = Counter(), Counter()
        self.requests = []
        self.connections = 0
        self._line_free_at = 0.0
        self._acceptor = threading.Thread(target=self._accept, name="origin")
        self._acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Where it is and what it has seen

    @property
    def address(self):
        """As ALLOWED_ADDRESSES has it: `127.0.0.1:9000`, `[::1]:9000`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, path="/", host=None):
        """The URL of a path; `host` calls the same server by another name, such as localhost."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{f'{host}:{self.port}' if host else self.address}{path}"

    def count(self, path):
        """How often a path was asked for, with its query if it was served with one."""
        with self._changed:
            return sum(self._route(request.path) == path for request in self.requests)

    def peak(self, path=None):
        """The most requests that were under way at once, of one path or of all."""
        with self._changed:
            return self._peaks[path]

    def running(self, path=None):
        """How many requests are under way now, of one path or of all."""
        with self._changed:
            return self._running[path]

    def open_connections(self):
        """How many connections clients keep open."""
        with self._changed:
            return len(self._connections)

    def wait_until(self, state, seconds=_BOUND_SECONDS):
        """Wait for `state()` to become true, which is looked at after every change here.

        For instance `origin.wait_until(lambda: origin.running("/a") == 8)`.
        """
        with self._changed:
            assert self._changed.wait_for(state, seconds), f"not so within {seconds} s"

    # What it answers; an answer replaces the one that the path had

    def answer(self, path, answer):
        """The general form: `answer(request, send)` sends bytes itself, and may raise HangUp."""
        self._answers[path] = answer

    def serve(
        self,
        path,
        body=b"",
        *,
        status=200,
        content_type="image/jpeg",
        headers=(),
        etag=None,
        last_modified=None,
        content_length=None,
        gate=None,
    ):
        """A plain answer; `headers` are pairs.

        With `gate`, a threading.Event, it waits until that is set (closing sets it too).
        `content_length` announces another length than the body has, and the connection ends after
        the body. With `etag`, a matching If-None-Match is answered 304; else, with
        `last_modified`, the same If-Modified-Since.
        """
        if gate is not None:
            self._gates.append(gate)
        fields = [("Content-Type", content_type), *dict(headers).items()]
        fields += [("ETag", etag)] if etag else []
        fields += [("Last-Modified", last_modified)] if last_modified else []

        def answer(request, send):
            if gate is not None:
                gate.wait()
            if _is_known(request, etag, last_modified):
                send(head(304, fields))
                return
            length = len(body) if content_length is None else content_length
            sent = b"" if request.method == "HEAD" else body
            send(head(status, [*fields, ("Content-Length", length)]) + sent)
            if content_length is not None:
                raise HangUp

        self.answer(path, answer)

    def redirect(self, path, to, status=302):
        """To a URL, or to a path of this server; to itself makes a loop."""
        self.serve(path, b"moved", status=status, headers=[("Location", to)])

    def flap(self, path, body, *, failures, status=503, headers=()):
        """Fails that many times with `status`, then serves the body."""
        left = iter(range(failures))

        def answer(_request, send):
            failed = next(left, None) is not None
            sent = b"try again" if failed else body
            fields = dict(headers) if failed else {"Content-Type": "image/jpeg"}
            send(head(status if failed else 200, [*fields.items(), ("Content-Length", len(sent))]))
            send(sent)

        self.answer(path, answer)

    def drip(self, path, *, part="body", seconds=1.0):
        """A byte every so many seconds, of the headers or of the body, until one side leaves."""

        def answer(_request, send):
            if part == "body":
                send(head(200, [("Content-Type", "image/jpeg"), ("Content-Length", 10_000)]))
            else:
                send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not self._closing.wait(seconds):
                send(b"x")
            raise HangUp

        self.answer(path, answer)

    def endless(self, path, status=200):
        """A chunked body that never ends."""
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"

        def answer(_request, send):
            send(head(status, [("Transfer-Encoding", "chunked")]))
            while not self._closing.is_set():
                send(chunk)
            raise HangUp

        self.answer(path, answer)

    def gzip_bomb(self, path, size):
        """A small body that says it is gzip and unpacks to `size` zeros."""
        body = gzip.compress(bytes(size))
        self.serve(path, body, headers=[("Content-Encoding", "gzip")])

    def throttled(self, path, body, bytes_per_second):
        """All paths so served share one line of that width, a piece of each in turn."""
        pieces = [body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES)]

        def answer(_request, send):
            send(head(200, [("Content-Type", "image/jpeg"), ("Content-Length", len(body))]))
            for piece in pieces:
                with self._changed:
                    now = time.monotonic()
                    self._line_free_at = (
                        max(now, self._line_free_at) + len(piece) / bytes_per_second
                    )
                    wait_seconds = self._line_free_at - now
                if self._closing.wait(wait_seconds):
                    raise HangUp
                send(piece)

        self.answer(path, answer)

    def overrun(self, paths, body, *, beyond):
        """Of more than so many requests at once, the host answers 429 and asks for a second."""

        def answer(_request, send):
            if self.running() > beyond:
                send(head(429, [("Retry-After", "1"), ("Content-Length", 0)]))
            else:
                self._closing.wait(0.03)
                send(head(200, [("Content-Type", "image/jpeg"), ("Content-Length", len(body))]))
                send(body)

        for path in paths:
            self.answer(path, answer)

    def crowd(self, paths, body, *, beyond, seconds):
        """Answers after so long, and the more requests there are beyond so many, the later."""

        def answer(_request, send):
            self._closing.wait(seconds * max(1, self.running() / beyond) ** 2)
            send(head(200, [("Content-Type", "image/jpeg"), ("Content-Length", len(body))]))
            send(body)

        for path in paths:
            self.answer(path, answer)

    def raw(self, path, sent=b"", *, reset=False):
        """Exactly these bytes, then the end of the connection; by a reset if wished."""

        def answer(_request, send):
            send(sent)
            raise HangUp(reset)

        self.answer(path, answer)

    # How it runs

    def close(self):
        """Ends every connection and waits for the threads."""
        self._closing.set()
        for gate in self._gates:
            gate.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
        self._listener.close()
        self._acceptor.join(_BOUND_SECONDS)
        with self._changed:
            open_now = dict(self._connections)
            for connection in open_now:
                with suppress(OSError):  # not TLS's own shutdown, which its thread would trip over
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in open_now.values():
            thread.join(_BOUND_SECONDS)
            assert not thread.is_alive(), "an answer of the origin does not end"

    def _accept(self):
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            thread = threading.Thread(target=self._talk, args=(connection,), name="origin")
            with self._changed:
                self._connections[connection] = thread
                self.connections += 1
                self._changed.notify_all()
            thread.start()

    def _talk(self, connection):
        """Answers one connection's requests until one side ends it."""
        with suppress(OSError), connection:
            try:
                if self._tls:
                    connection.do_handshake()
                with connection.makefile("rb") as stream:
                    while (request := _read_request(stream)) and self._reply(request, connection):
                        pass
            except HangUp as end:
                if True in end.args:  # a linger time of 0 makes close() send RST
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with self._changed:
            self._connections.pop(connection, None)
            self._changed.notify_all()

    def _reply(self, request, connection):
        """Answers one request; whether the connection stays open."""
        path = self._route(request.path)
        with self._changed:
            self.requests.append(request)
            for key in (path, None):
                self._running[key] += 1
                self._peaks[key] = max(self._peaks[key], self._running[key])
            self._changed.notify_all()
        try:
            self._answers.get(path, _not_found)(request, connection.sendall)
        finally:
            with self._changed:
                for key in (path, None):
                    self._running[key] -= 1
                self._changed.notify_all()
        return request.headers.get("connection", "").lower() != "close"

    def _route(self, path):
        """The path as it was served: with its query, else without."""
        return path if path in self._answers else path.partition("?")[0]


class LoopbackOnly:
    """For `Outbound(open_socket=…)`: opens sockets to loopback alone, and remembers all it was
    asked for, so that a test can assert that `dialled` holds nothing foreign."""

    def __init__(self):
        self.dialled = []

    def __call__(self, address):
        self.dialled.append(address.addr[0])
        if not ipaddress.ip_address(address.addr[0]).is_loopback:
            raise OSError(f"a test tried to leave the machine, to {address.addr}")
        return socket.socket(address.family, address.socktype, address.protocol)


class Canary:
    """A port that nobody may connect to. It is asked, not told: the kernel completes a connection
    to a listening port by itself, so `was_called` sees every one that was made before."""

    def __init__(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def url(self, path="/", host=None):
        return f"http://{f'{host}:{self.port}' if host else self.address}{path}"

    def was_called(self):
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


def head(status, fields):
    """A status line and headers, for answers that send themselves."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Odd"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _is_known(request, etag, last_modified):
    """Whether the client has it already; an entity tag goes before a date (RFC 9110, 13.2.2)."""
    if "if-none-match" in request.headers:
        return etag is not None and request.headers["if-none-match"] == etag
    return last_modified is not None and (request.headers.get("if-modified-since") == last_modified)


def _not_found(_request, send):
    send(head(404, [("Content-Length", 0)]))


def _read_request(stream):
    """The next request of a connection; None where the client ends it."""
    if stream.peek(1)[:1] == b"\x16":  # the beginning of TLS, on a plain port
        return None
    first = stream.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Request(first[0], first[1], headers, body)


def _tls_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
