"""200 clients of each slow kind, and how soon `/healthz` is answered beside them."""

import http.client
import itertools
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from benchmarks.hostile.figures import Figure
from tests.origin import Origin
from tests.service_process import ServiceProcess, service_process

CLIENTS = 200
ASKS = 300
PAUSE_SECONDS = 0.04
READ_BYTES_A_SECOND = 1_024
ROWS = 200_000


def health(folder: Path) -> Iterator[Figure]:
    with Origin() as origin, service_process(folder) as service:
        service.wait_until_ready()
        gate = threading.Event()
        origin.serve("/waits.jpg", b"", gate=gate)
        output = _large_output(service)
        yield _figure("nobody", service, _silence)
        sends = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Drip: "
        yield _figure("who send a byte a second of headers", service, _dripping(service, sends))
        sends = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"
        yield _figure("who send a byte a second of a body", service, _dripping(service, sends))
        yield _figure("who read an output CSV at 1 KB/s", service, _reading(service, output))
        yield _figure("who upload with Prefer: wait=60", service, _waiting(service, origin))
        gate.set()


def _figure(who: str, service: ServiceProcess, clients: Callable[[], object]) -> Figure:
    with clients():  # type: ignore[attr-defined]
        seconds = sorted(_ask(service) for _ in range(ASKS))
    p99 = seconds[math.ceil(ASKS * 0.99) - 1]
    how = f"{ASKS} new connections, median {seconds[ASKS // 2] * 1000:.1f} ms"
    return Figure(
        f"`/healthz` p99 beside {'' if who == 'nobody' else f'{CLIENTS} '}{who}",
        round(p99 * 1000, 1),
        " ms",
        1000,
        how,
    )


def _ask(service: ServiceProcess) -> float:
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", "/healthz")
    reply = connection.getresponse()
    reply.read()
    connection.close()
    assert reply.status == 200, reply.status
    return time.perf_counter() - began


@contextmanager
def _silence() -> Iterator[None]:
    yield


def _connect(service: ServiceProcess, stack: ExitStack, sent: bytes) -> list[socket.socket]:
    clients = []
    for _ in range(CLIENTS):
        client = socket.socket()
        stack.callback(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", service.port))
        client.sendall(sent)
        clients.append(client)
    return clients


@contextmanager
def _every_second(act: Callable[[], None]) -> Iterator[None]:
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(1):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _dripping(service: ServiceProcess, begin: bytes) -> Callable[[], object]:
    @contextmanager
    def clients() -> Iterator[None]:
        with ExitStack() as stack:
            connected = _connect(service, stack, begin)

            def drip() -> None:
                for client in connected:
                    client.sendall(b"x")

            with _every_second(drip):
                yield

    return clients


def _reading(service: ServiceProcess, path: str) -> Callable[[], object]:
    @contextmanager
    def clients() -> Iterator[None]:
        asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        with ExitStack() as stack:
            connected = _connect(service, stack, asked)
            for client in connected:
                head = client.recv(12)
                assert head == b"HTTP/1.1 200", head

            def read() -> None:
                for client in connected:
                    assert client.recv(READ_BYTES_A_SECOND)

            with _every_second(read):
                yield

    return clients


def _waiting(service: ServiceProcess, origin: Origin) -> Callable[[], object]:
    """Each has an image that does not come. Most are answered 202 at once, as they should be."""

    @contextmanager
    def clients() -> Iterator[None]:
        upload = requests.Request(
            "POST",
            f"{service.url}/upload",
            files={"file": ("a.csv", f"Images\n{origin.url('/waits.jpg')}\n")},
            headers={"Prefer": "wait=60"},
        ).prepare()
        head = "".join(f"{name}: {value}\r\n" for name, value in upload.headers.items())
        sent = f"POST /upload HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode() + upload.body
        with ExitStack() as stack:
            connected = _connect(service, stack, sent)
            yield
            with selectors.DefaultSelector() as selector:
                for client in connected:
                    selector.register(client, selectors.EVENT_READ)
                answered = len(selector.select(0))
            assert CLIENTS - 4 <= answered < CLIENTS, answered

    return clients


def _large_output(service: ServiceProcess) -> str:
    """The path of an output CSV that no socket's buffer holds."""
    sample = f"{service.url}/samples/cat-400.jpg"
    rows = itertools.chain([sample], itertools.repeat("", ROWS))
    text = "Images,Description\n" + "".join(f"{url},{'x' * 100}\n" for url in rows)
    file = {"file": ("catalog.csv", text)}
    request_id = requests.post(f"{service.url}/upload", files=file, timeout=120).json()[
        "request_id"
    ]
    path = f"/download/{request_id}"
    while requests.head(service.url + path, timeout=60).status_code != 200:
        time.sleep(0.2)
    return path
