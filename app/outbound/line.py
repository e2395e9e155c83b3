"""One curl handle: a URL goes in, the status and the reply come out.

Called by `Outbound`, from the one thread that the line belongs to.
"""

import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any, Protocol

import pycurl

from app.addresses import AddressGuard
from app.budget import TakeUpTo
from app.errors import ImageFailed, NoRoom
from app.models import ErrorCode
from app.outbound.faults import certificate_fault, fault

CONNECT_TIMEOUT_SECONDS = 10
MAX_RETRY_AFTER_SECONDS = 86_400
_DRAINED_BYTES = 65_536  # of a body nobody wants: cheaper than a new connection up to here
_FIRST_ROOM_BYTES = 1_048_576  # for a body of unknown length, doubled as it grows
_STATUS_LINE = re.compile(rb"HTTP/[0-9.]+ ([0-9]{3})")


class SocketAddress(Protocol):
    """Where libcurl is about to connect to; `addr` begins with the IP address and the port."""

    family: int
    socktype: int
    protocol: int
    addr: tuple[Any, ...]


OpenSocket = Callable[[SocketAddress], socket.socket]


def new_socket(address: SocketAddress) -> socket.socket:
    """A socket that libcurl connects to `address` then."""
    return socket.socket(address.family, address.socktype, address.protocol)


class Reply:
    """What comes back from one call; its methods are libcurl's callbacks.

    From the status `enough_from` on, the status line alone says all: what breaks after it, or a
    body that is too long, is no failure. `guard` None lets every address be dialled.
    """

    def __init__(
        self,
        guard: AddressGuard | None,
        open_socket: OpenSocket,
        *,
        max_body_bytes: int = _DRAINED_BYTES,
        enough_from: int = 400,
    ):
        self._guard = guard
        self._open_socket = open_socket
        self.max_body_bytes = max_body_bytes
        self._enough_from = enough_from
        self.begin()

    def begin(self, take_up_to: TakeUpTo | None = None) -> None:
        self._take_up_to = take_up_to
        self._room_bytes = 0
        self.lacks_bytes = 0
        self._body = BytesIO()  # not a list of chunks, which a host could send by the byte
        self.is_too_large = False
        self._start_hop(0)

    def forget_room(self) -> None:
        """An idle thread would hold it, and the memory that it stands for, until its next call."""
        self._take_up_to = None

    def _start_hop(self, status: int) -> None:
        """After a redirect, what was dialled before says nothing of the host it leads to."""
        self.status = status
        self.refusal: str | None = None
        self.has_dialled = False
        self._headers: dict[bytes, bytes] = {}

    @property
    def is_enough(self) -> bool:
        is_refusal_cut_short = self.is_too_large and self.status >= 300
        return self.status >= self._enough_from or is_refusal_cut_short

    def open_socket(self, _purpose: int, address: SocketAddress) -> "Handover | int":
        """Judge one address of a host; after SOCKET_BAD libcurl goes on to its next address."""
        ip, port = address.addr[:2]
        reason = self._guard.reason_against(ip, port) if self._guard else None
        if reason:
            if self.refusal is None or ":" not in ip:  # people mean the IPv4 one of localhost
                self.refusal = reason
            return int(pycurl.SOCKET_BAD)
        self.has_dialled = True
        try:
            return Handover(self._open_socket(address))
        except OSError:
            return int(pycurl.SOCKET_BAD)

    @property
    def _is_wanted(self) -> bool:
        return 200 <= self.status < 300

    def read_header(self, line: bytes) -> int | None:
        """Collect a header; libcurl ends the call when 0 comes back."""
        if line.startswith(b"HTTP/") and (status_line := _STATUS_LINE.match(line)):
            self._start_hop(int(status_line[1]))
        elif line == b"\r\n":
            return self._make_room(self._announced_bytes())
        else:
            name, _, value = line.partition(b":")
            self._headers[name.lower()] = value
        return None

    def _announced_bytes(self) -> int:
        length = self._headers.get(b"content-length", b"").strip()
        is_known = length.isdigit() and b"content-encoding" not in self._headers
        return min(int(length) if is_known else _FIRST_ROOM_BYTES, self.max_body_bytes)

    def _make_room(self, size_bytes: int) -> int | None:
        """Before so much of the body is read; 0 when it is more than may be held now."""
        if self._take_up_to and self._is_wanted and not self._take_up_to(size_bytes):
            self.lacks_bytes = size_bytes
            return 0
        self._room_bytes = size_bytes
        return None

    def read_body(self, chunk: bytes) -> int | None:
        """Collect what is decoded; libcurl ends the call when 0 comes back."""
        self._body.write(chunk)
        size_bytes = self._body.tell()
        self.is_too_large = size_bytes > (
            self.max_body_bytes if self._is_wanted else _DRAINED_BYTES
        )
        if self.is_too_large:
            return 0
        if size_bytes > self._room_bytes:
            return self._make_room(min(2 * size_bytes, self.max_body_bytes))
        return None

    def take_body(self) -> bytes:
        """The body, which is not kept here: an idle thread would hold it until its next call."""
        body, self._body = self._body, BytesIO()
        return body.getvalue()  # the buffer itself, no copy

    def header(self, name: bytes) -> str | None:
        value = self._headers.get(name)
        return None if value is None else value.strip().decode("latin-1")

    def raw_header(self, name: bytes) -> bytes:
        """Empty where there is none."""
        return self._headers.get(name, b"")

    def retry_after_seconds(self) -> float | None:
        """Seconds or a date (RFC 9110, 10.2.3), not beyond a day."""
        value = self.header(b"retry-after") or ""
        if value.isascii() and value.isdecimal():
            seconds = float(value)
        else:
            try:
                time = parsedate_to_datetime(value)
            except (ValueError, OverflowError):
                return None
            time = time if time.tzinfo else time.replace(tzinfo=UTC)
            seconds = (time - datetime.now(UTC)).total_seconds()
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


class Line:
    """One curl handle with its connections, and the reply that its callbacks fill."""

    def __init__(self, curl: pycurl.Curl, reply: Reply):
        self.curl = curl
        self.reply = reply
        self._fields: list[str] = []

    def send_fields(self, fields: list[str]) -> None:
        """Headers `Name: value` of the calls from now on."""
        if fields != self._fields:
            self.curl.unsetopt(pycurl.HTTPHEADER)  # as setting none leaves the last ones there
            self.curl.setopt(pycurl.HTTPHEADER, fields)
            self._fields = fields

    def call(self, url: str, timeout_seconds: float, take_up_to: TakeUpTo | None = None) -> int:
        """Perform one request and return the status. Raises ImageFailed when none came, NoRoom."""
        _require_callable(url)
        self.reply.begin(take_up_to)
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(timeout_seconds * 1000)))
        try:
            self.curl.perform()
        except pycurl.error as error:
            if self.reply.lacks_bytes:
                self.reply.take_body()
                raise NoRoom(self.reply.lacks_bytes) from error
            if not self.reply.is_enough:
                curl_code, text = error.args
                raise self._failure(curl_code, text, timeout_seconds) from error
            self.reply.take_body()
        finally:
            self.reply.forget_room()
        return self.reply.status

    def _failure(self, curl_code: int, text: str, timeout_seconds: float) -> ImageFailed:
        reply, has_body = self.reply, bool(self.reply.take_body())
        if reply.is_too_large or curl_code == pycurl.E_FILESIZE_EXCEEDED:
            message = f"the image is larger than {reply.max_body_bytes:,} bytes"
            return ImageFailed(ErrorCode.TOO_LARGE, message, permanent=True)
        if curl_code == pycurl.E_OPERATION_TIMEDOUT:
            return self._timeout(timeout_seconds)
        if curl_code == pycurl.E_COULDNT_CONNECT and reply.refusal and not reply.has_dialled:
            return ImageFailed(ErrorCode.FORBIDDEN_ADDRESS, reply.refusal, permanent=True)
        if curl_code == pycurl.E_PEER_FAILED_VERIFICATION:
            return certificate_fault(self.curl.getinfo(pycurl.SSL_VERIFYRESULT))
        if curl_code == pycurl.E_RECV_ERROR and has_body:
            return fault(pycurl.E_PARTIAL_FILE)
        if curl_code == pycurl.E_UNSUPPORTED_PROTOCOL and "HTTP" in text:  # not: a scheme
            return fault(pycurl.E_FTP_WEIRD_SERVER_REPLY)
        return fault(curl_code)

    def _timeout(self, timeout_seconds: float) -> ImageFailed:
        """Tells the deadline of the whole try from that of connecting."""
        is_connecting = self.curl.getinfo(pycurl.TOTAL_TIME) < timeout_seconds - 0.5
        message = (
            f"no connection after {CONNECT_TIMEOUT_SECONDS} s"
            if is_connecting
            else f"after {round(timeout_seconds, 1):g} s"
        )
        return ImageFailed(ErrorCode.TIMEOUT, message, permanent=False)


class Handover:
    """A socket on its way to libcurl: pycurl duplicates its descriptor, then drops this, and the
    original must be closed without the ResourceWarning of a socket that was forgotten."""

    def __init__(self, opened: socket.socket):
        self._socket = opened

    def fileno(self) -> int:
        return self._socket.fileno()

    def __del__(self) -> None:
        self._socket.close()


def _require_callable(url: str) -> None:
    """What libcurl would let pass: a URL without a scheme, which it guesses."""
    if not url.isascii() or "\0" in url:
        raise fault(pycurl.E_URL_MALFORMAT)
    if not url.lower().startswith(("http://", "https://")):
        raise fault(pycurl.E_UNSUPPORTED_PROTOCOL)
