"""The only network client: a URL → the bytes of an image; a webhook → the status it was answered.

Called by `sources`, `webhooks` and `intake`. Built on libcurl, since only there the total deadline,
the limit on decoded bytes and the check of the address really dialled hold on every redirect.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import pycurl

from app.addresses import AddressGuard
from app.errors import BadRequest, ImageFailed, PressroomError
from app.models import ErrorCode

MAX_REDIRECTS = 10
CONNECT_TIMEOUT_SECONDS = 10
CHECK_TIMEOUT_SECONDS = 5
MAX_RETRY_AFTER_SECONDS = 86_400
_DRAINED_BYTES = 65_536  # of a body nobody wants: less than a new connection would cost
_RECEIVE_BUFFER_BYTES = 131_072  # libcurl's own 16 KiB calls Python thrice for a small photograph
_HEAL_LATER = frozenset({408, 425, 429})
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, FreeBSD
)
# From curl.h: pycurl 7.49 has no names for them.
_DISALLOW_USERNAME_IN_URL = 278
_QUICK_EXIT = 322


class PostFailed(PressroomError):
    """A webhook was not answered; what may be wrong is in the message, after a code of images."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image as the host sent it, content encodings undone; `final_url` is behind redirects."""

    body: bytes | bytearray
    final_url: str
    etag: str | None
    last_modified: str | None
    elapsed_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Posted:
    """How a webhook was answered, whatever the status; `retry_after_seconds` if it said so."""

    status: int
    retry_after_seconds: float | None


class SocketAddress(Protocol):
    """Where libcurl is about to connect to; `addr` begins with the IP address and the port."""

    family: int
    socktype: int
    protocol: int
    addr: tuple[Any, ...]


OpenSocket = Callable[[SocketAddress], socket.socket]


def open_socket(address: SocketAddress) -> socket.socket:
    """A socket for libcurl to connect to `address` with."""
    return socket.socket(address.family, address.socktype, address.protocol)


def find_ca_bundle() -> str | None:
    """The system's file of trusted authorities; None where there is none: https then fails."""
    known = (ssl.get_default_verify_paths().cafile, *_CA_BUNDLES)
    return next((path for path in known if path and Path(path).is_file()), None)


class Outbound:
    """Fetches and posts; any number of threads may share it, each has its own connections.

    Make it after a fork. With a proxy, that proxy is all that is dialled and must guard addresses
    itself. The environment's proxies and `.netrc` are not read. `open_socket` is for tests.
    """

    def __init__(
        self,
        *,
        guard: AddressGuard,
        user_agent: str,
        fetch_timeout_seconds: float,
        max_image_bytes: int,
        ca_bundle: str | None = None,
        proxy_url: str | None = None,
        open_socket: OpenSocket = open_socket,
    ):
        self._guard = None if proxy_url else guard
        self._user_agent = user_agent
        self._fetch_timeout_seconds = fetch_timeout_seconds
        self._max_image_bytes = max_image_bytes
        self._ca_bundle = ca_bundle or find_ca_bundle()
        self._proxy_url = proxy_url or ""
        self._open_socket = open_socket
        self._local = threading.local()

    def fetch(self, url: str, timeout_seconds: float | None = None) -> Fetched:
        """Get an image, within `timeout_seconds` (FETCH_TIMEOUT_SECONDS) from dial to last byte.

        Identity is asked for; a gzip, deflate or Brotli body that comes anyway is decoded, within
        the same limit. Raises ImageFailed.
        """
        line = self._line("fetch", self._fetch_line)
        status = line.call(url, timeout_seconds or self._fetch_timeout_seconds)
        body = line.reply.take_body()
        if not 200 <= status < 300:
            raise _refused(status, line.reply)
        if not body:
            raise ImageFailed(ErrorCode.NOT_AN_IMAGE, "the answer is empty", permanent=True)
        return Fetched(
            body,
            final_url=line.curl.getinfo(pycurl.EFFECTIVE_URL),
            etag=line.reply.header(b"etag"),
            last_modified=line.reply.header(b"last-modified"),
            elapsed_seconds=line.curl.getinfo(pycurl.TOTAL_TIME),
        )

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_seconds: float = 15,
        trusted: bool = False,
    ) -> Posted:
        """Send `body` once and return how it was answered; redirects are not followed.

        `trusted` is for the service's own receiver alone: any address may be dialled, without the
        proxy. The answer's body is thrown away. Raises PostFailed when no status came.
        """
        line = self._line("trusted", self._trusted_line) if trusted else self._post_line_reused()
        line.curl.setopt(pycurl.POSTFIELDS, body)
        line.curl.setopt(
            pycurl.HTTPHEADER, ["Expect:", *(f"{name}: {value}" for name, value in headers.items())]
        )
        try:
            status = line.call(url, timeout_seconds)
        except ImageFailed as error:
            raise PostFailed(f"{error.code} {error}") from error
        return Posted(status, line.reply.retry_after_seconds())

    def check(self, url: str) -> None:
        """Raise BadRequest for a URL that `post` would refuse, saying why. Connects to nothing.

        A name that cannot be resolved within `CHECK_TIMEOUT_SECONDS` is accepted: it may be there
        tomorrow, and every address is judged again when it is dialled. So is a name of which only
        some addresses are refused.
        """
        line = self._new_line(_Reply(self._guard, _open_nothing, 0))
        try:
            line.call(url, CHECK_TIMEOUT_SECONDS)
        except ImageFailed as error:
            if error.code == ErrorCode.FORBIDDEN_ADDRESS:
                raise BadRequest(f"the URL may not be called: {error}") from error

    def close(self) -> None:
        """Close every idle connection; a call under way ends first."""
        self._local = threading.local()
