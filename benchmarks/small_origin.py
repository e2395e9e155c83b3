"""A small HTTP/1.1 server of static files, for machines without nginx.

    python -m benchmarks.small_origin ROOT CERTIFICATE PORT TLS_PORT

One process, one thread; answers GET alone, keeps connections, and holds files in memory.
"""

import asyncio
import ssl
import sys
from functools import cache
from pathlib import Path

from benchmarks.origin import LATENCY_SECONDS

SLOW = "/slow/"


class Connection(asyncio.Protocol):
    """Answers one request after another, in order."""

    def __init__(self, root: Path):
        self._root = root
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            if path.startswith(SLOW):
                loop = asyncio.get_running_loop()
                loop.call_later(LATENCY_SECONDS, self._answer, path.removeprefix(SLOW))
            else:
                self._answer(path.lstrip("/"))

    def _answer(self, name: str) -> None:
        self._transport.write(reply_of(self._root, name))


@cache
def reply_of(root: Path, name: str) -> bytes:
    """The whole reply; names come from the benchmark alone."""
    path = root / name
    if not path.is_file():
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    body = path.read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def serve(root: Path, certificate: str, port: int, tls_port: int) -> None:
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers = [
        await loop.create_server(lambda: Connection(root), "127.0.0.1", number, ssl=tls)
        for number, tls in ((port, None), (tls_port, context))
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
