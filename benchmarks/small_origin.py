"""A small HTTP/1.1 server of static files: for machines without nginx, and for bad hosts.

    python -m benchmarks.small_origin ROOT CERTIFICATE PORT TLS_PORT

    /name.jpg               at once; 304 to whoever has it already
    /slow/name.jpg          after 100 ms
    /late/SECONDS/name.jpg  after so long
    /crowded/name.jpg       after 100 ms, and after longer the more than 8 are asked for at once
    /thin/name.jpg          over one line of 12 MB/s that all of them share

One process, one thread; answers GET alone, keeps connections, and holds files in memory.
"""

import asyncio
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from benchmarks.origin import LATENCY_SECONDS

UNCROWDED = 8
THIN_BYTES_PER_SECOND = 12_000_000
PIECE_BYTES = 65_536


class Line:
    """What is sent over it goes piece by piece, a piece of each answer in turn."""

    def __init__(self, bytes_per_second: float):
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    def send(self, transport: asyncio.Transport, content: bytes) -> None:
        piece, rest = content[:PIECE_BYTES], content[PIECE_BYTES:]
        loop = asyncio.get_running_loop()
        self._free_at = max(loop.time(), self._free_at) + len(piece) / self._bytes_per_second
        loop.call_at(self._free_at, self._send_piece, transport, piece, rest)

    def _send_piece(self, transport: asyncio.Transport, piece: bytes, rest: bytes) -> None:
        transport.write(piece)
        if rest and not transport.is_closing():
            self.send(transport, rest)


class Server:
    """What its connections share."""

    def __init__(self, root: Path):
        self.root = root
        self.thin = Line(THIN_BYTES_PER_SECOND)
        self.in_the_crowd = 0


@dataclass(frozen=True)
class Request:
    name: str
    etag: str


class Connection(asyncio.Protocol):
    """Answers one request after another, in order."""

    def __init__(self, server: Server):
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            kind, _, name = path[1:].partition("/")
            behave = {"slow": self._slowly, "late": self._late, "thin": self._thinly}
            behave["crowded"] = self._crowded
            act: Callable[[Request], None] = behave.get(kind, self._answer)
            act(Request(name if kind in behave else path[1:], _etag_known(head)))

    def _answer(self, request: Request) -> None:
        self._transport.write(reply_to(self._server.root, request))

    def _slowly(self, request: Request) -> None:
        _after(LATENCY_SECONDS, partial(self._answer, request))

    def _late(self, request: Request) -> None:
        seconds, _, name = request.name.partition("/")
        _after(float(seconds), partial(self._answer, Request(name, request.etag)))

    def _thinly(self, request: Request) -> None:
        self._server.thin.send(self._transport, reply_to(self._server.root, request))

    def _crowded(self, request: Request) -> None:
        self._server.in_the_crowd += 1
        seconds = LATENCY_SECONDS * max(1, self._server.in_the_crowd / UNCROWDED)
        _after(seconds, partial(self._leave_the_crowd, request))

    def _leave_the_crowd(self, request: Request) -> None:
        self._server.in_the_crowd -= 1
        self._answer(request)


def _after(seconds: float, act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, act)


def _etag_known(head: bytes) -> str:
    """What the client has already."""
    _, found, rest = head.lower().partition(b"\r\nif-none-match:")
    return rest.partition(b"\r\n")[0].strip().decode() if found else ""


def reply_to(root: Path, request: Request) -> bytes:
    etag, reply = whole_reply(root, request.name)
    if etag and etag == request.etag:
        return f"HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n".encode()
    return reply


@cache
def whole_reply(root: Path, name: str) -> tuple[str, bytes]:
    """The ETag and the whole reply; names come from the benchmark alone."""
    path = root / name
    if not path.is_file():
        return "", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    body = path.read_bytes()
    etag = f'"{path.stat().st_mtime_ns:x}-{len(body):x}"'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nETag: {etag}\r\n"
    return etag, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def serve(root: Path, certificate: str, port: int, tls_port: int) -> None:
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    shared = Server(root)
    servers = [
        await loop.create_server(lambda: Connection(shared), "127.0.0.1", number, ssl=tls)
        for number, tls in ((port, None), (tls_port, context))
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
