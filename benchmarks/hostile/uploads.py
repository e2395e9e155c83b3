"""Uploads that mean harm, and how far the memory of the service grows with each."""

import itertools
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import requests

from benchmarks.hostile.figures import Figure, Peak
from tests.service_process import ServiceProcess, service_process

MOST_MB = 50
MEBIBYTE = 1_048_576
CONNECTIONS = 1_900
"""Of the 2,000 that the service takes."""
END = b"\r\n--x--\r\n"


def memory(folder: Path) -> Iterator[Figure]:
    with service_process(folder) as service:
        service.wait_until_ready()
        _send(service, _form(_file(b"Images\nhttp://127.0.0.1:1/a.jpg\n")))
        for what, attack in ATTACKS.items():
            peak = Peak(service.process.pid)
            seen = attack(service)
            health = requests.get(f"{service.url}/healthz", timeout=60)
            assert health.ok
            how = f"growth of the service's VmHWM, {seen}"
            yield Figure(f"{what}: memory", peak.mb, " MB", MOST_MB, how)


def _send(service: ServiceProcess, body: Iterable[bytes] | bytes, kind: str = "form") -> str:
    media_type = "multipart/form-data; boundary=x" if kind == "form" else kind
    reply = requests.post(
        f"{service.url}/upload", data=body, headers={"Content-Type": media_type}, timeout=300
    )
    assert reply.headers["Content-Type"] == "application/json"
    return f"answered {reply.status_code}"


def _part(name: bytes, content: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, content)


def _file(content: bytes, name: bytes = b"a.csv") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % name
    return head + content + b"\r\n"


def _form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


def _chunks(begin: bytes, chunk: bytes, count: int, end: bytes = END) -> Iterator[bytes]:
    yield begin
    yield from itertools.repeat(chunk, count)
    yield end


def _rows(count: int) -> Callable[[ServiceProcess], str]:
    chunk = b"http://127.0.0.1:1/a.jpg\n" * 1_000
    dry_run = _part(b"dry_run", b"true") + _file(b"Images\n")[:-2]
    return lambda service: _send(service, _chunks(dry_run, chunk, count // 1_000))


def _large(content: bytes, mebibytes: int) -> Callable[[ServiceProcess], str]:
    chunk = content * (MEBIBYTE // len(content))
    begin = _file(b"Images\n")[:-2]
    return lambda service: _send(service, _chunks(begin, chunk, mebibytes))


def _many_at_once(sent: bytes) -> Callable[[ServiceProcess], str]:
    """Connections that each hold back their last bytes."""

    def attack(service: ServiceProcess) -> str:
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                client = stack.enter_context(
                    socket.create_connection(("127.0.0.1", service.port), timeout=60)
                )
                client.sendall(sent)
            assert requests.get(f"{service.url}/healthz", timeout=60).ok
        return f"{CONNECTIONS:,} connections"

    return attack


def _bodies_without_end(service: ServiceProcess) -> str:
    """Eight that go on sending what never ends, until they are refused."""
    refused = 0
    head = b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: localhost\r\n\r\n"
    chunk = b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n"
    with ExitStack() as stack:
        clients = []
        for _ in range(8):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            client.settimeout(60)
            client.sendall(head)
            clients.append(client)
        for _ in range(250):
            for client in clients:
                with suppress(OSError):
                    client.sendall(chunk)
        for client in clients:
            client.settimeout(0.1)
            with suppress(TimeoutError):
                refused += client.recv(12) == b"HTTP/1.1 503"
    assert refused, "nobody was refused"
    return f"{refused} of 8 answered 503"


HEAD = b"POST /upload HTTP/1.1\r\nHost: localhost\r\n"
ATTACKS: dict[str, Callable[[ServiceProcess], str]] = {
    "a file of 270 MB": _large(b"http://127.0.0.1:1/a.jpg\n", 270),
    "a body of 400 MB": _large(b"x", 400),
    "1,001,000 rows": _rows(1_001_000),
    "one cell of 250 MB": _large(b"x", 250),
    "one quoted cell of line breaks, 250 MB": _large(b'"' + b"\n" * 1_023, 250),
    "one row of 10 million URLs": _large(b"http://1.1.1.1/a,", 160),
    "250 MB of commas": _large(b",", 250),
    "a million form fields": lambda service: _send(
        service, _chunks(b"", _part(b"a", b"b") * 1_000, 1_000)
    ),
    "a form field of 100 MB": lambda service: _send(
        service, _chunks(_part(b"base_url", b"")[:-2], bytes(MEBIBYTE), 100)
    ),
    "a part's head of 100 MB": lambda service: _send(
        service, _chunks(b"--x\r\nA: ", b"x" * MEBIBYTE, 100)
    ),
    "a file name of 100 MB": lambda service: _send(
        service, _chunks(_file(b"")[:-10], b"x" * MEBIBYTE, 100, b'"\r\n\r\n' + END)
    ),
    "a JSON body of 250 MB": lambda service: _send(
        service, _chunks(b"[", b"[" * MEBIBYTE, 250), "application/json"
    ),
    "a URL-encoded body of 250 MB": lambda service: _send(
        service, _chunks(b"", b"a=b&" * (MEBIBYTE // 4), 250), "application/x-www-form-urlencoded"
    ),
    "eight bodies that never end": _bodies_without_end,
    "1,900 unfinished heads of 16 KB": _many_at_once(HEAD + b"A: " + b"x" * 16_000),
    "1,900 unfinished bodies of 16 KB": _many_at_once(
        HEAD + b"Content-Length: 16384\r\n\r\n" + bytes(16_000)
    ),
    "1,900 unfinished bodies of 100 KB": _many_at_once(
        HEAD + b"Content-Length: 200000\r\n\r\n" + bytes(100_000)
    ),
}
