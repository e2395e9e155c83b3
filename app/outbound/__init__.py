"""The only network client: a URL → the bytes of an image; a webhook → the status it was answered.

Called by `sources`, `webhooks` and the API. Built on libcurl, since only there the total deadline,
the limit on decoded bytes and the check of the address really dialled hold on every redirect.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pycurl

from app.addresses import AddressGuard
from app.budget import TakeUpTo
from app.errors import BadRequest, ImageFailed, PressroomError
from app.fetch_headers import FetchHeaders
from app.models import ErrorCode, Source
from app.outbound.faults import MAX_REDIRECTS, fault, status_fault
from app.outbound.line import (
    CONNECT_TIMEOUT_SECONDS,
    Line,
    OpenSocket,
    Reply,
    SocketAddress,
    new_socket,
)

CHECK_TIMEOUT_SECONDS = 5
_HAS_LOGIN = re.compile(r"([a-z]+:)?[/\\]{2,}[^/?#]*@", re.IGNORECASE)
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_RECEIVE_BUFFER_BYTES = 131_072  # libcurl's own 16 KiB calls Python thrice for a small photograph
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, FreeBSD
)
# From curl.h: pycurl 7.49 has no names for these.
_SUPPRESS_CONNECT_HEADERS = 265
_DISALLOW_USERNAME_IN_URL = 278
_QUICK_EXIT = 322


class PostFailed(PressroomError):
    """No status came back; the message begins with one of the image codes."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image as the host sent it, content encodings undone; `final_url` is behind redirects.

    `is_unchanged`: the host has said so (304), and sent none. `may_be_kept`: it has not forbidden
    to remember what it sent (`Cache-Control: no-store`).
    """

    body: bytes
    final_url: str
    etag: str | None
    last_modified: str | None
    elapsed_seconds: float = 0.0
    is_unchanged: bool = False
    may_be_kept: bool = True


@dataclass(frozen=True, slots=True)
class Posted:
    """How a webhook was answered, whatever the status; `retry_after_seconds` if it said so."""

    status: int
    retry_after_seconds: float | None


def find_ca_bundle() -> str | None:
    """The system's file of trusted authorities; None where there is none: https then fails."""
    known = (ssl.get_default_verify_paths().cafile, *_CA_BUNDLES)
    return next((path for path in known if path and Path(path).is_file()), None)


class Outbound:
    """Fetches and posts; any number of threads may share it, each has its own connections.

    Make it after a fork. With a proxy, only that proxy is dialled, and it must guard addresses
    itself. The environment's proxies and `.netrc` are not read. Tests bring their `open_socket`.
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
        headers: FetchHeaders | None = None,
        open_socket: OpenSocket = new_socket,
    ):
        self._guard = None if proxy_url else guard
        self._user_agent = user_agent
        self._fetch_timeout_seconds = fetch_timeout_seconds
        self._max_image_bytes = max_image_bytes
        self._ca_bundle = ca_bundle or find_ca_bundle()
        self._proxy_url = proxy_url or ""
        self._headers = headers or FetchHeaders()
        self._open_socket = open_socket
        self._local = threading.local()

    def fetch(
        self,
        url: str,
        timeout_seconds: float | None = None,
        take_up_to: TakeUpTo | None = None,
        known: Source | None = None,
    ) -> Fetched:
        """Get an image within `timeout_seconds` (FETCH_TIMEOUT_SECONDS), dial to last byte.

        `take_up_to` is asked for room before any of the body is read, and again while one of
        unknown length grows. Where there is none the call ends at once, as waiting would be the
        host's time.

        Identity is asked for; a gzip, deflate or Brotli body that comes anyway is decoded, within
        the same limit. With what is `known` of the image it is asked for only if it has changed
        since. Raises ImageFailed, NoRoom.
        """
        line = self._line("fetch", self._fetching_line)
        if timeout_seconds is None:
            timeout_seconds = self._fetch_timeout_seconds
        status, elapsed_seconds = self._follow(
            line, url, timeout_seconds, take_up_to, _conditions(known)
        )
        body = line.reply.take_body()
        is_unchanged = status == 304 and known is not None
        if is_unchanged:
            body = b""
        elif not 200 <= status < 300:
            raise status_fault(status, line.reply.retry_after_seconds())
        elif not body:  # under 200 perhaps for once, as when the headers were cut off
            raise ImageFailed(
                ErrorCode.NOT_AN_IMAGE, "the answer is empty", permanent=status != 200
            )
        return Fetched(
            body,
            final_url=line.curl.getinfo(pycurl.EFFECTIVE_URL),
            etag=line.reply.header(b"etag"),
            last_modified=line.reply.header(b"last-modified"),
            elapsed_seconds=elapsed_seconds,
            is_unchanged=is_unchanged,
            may_be_kept=b"no-store" not in line.reply.raw_header(b"cache-control").lower(),
        )

    def _follow(
        self,
        line: Line,
        url: str,
        timeout_seconds: float,
        take_up_to: TakeUpTo | None,
        conditions: list[str],
    ) -> tuple[int, float]:
        """The status behind all redirects, which have that long together, and their seconds.

        Each hop is a call of its own, with the headers of its own host: libcurl would take all but
        two of them along to wherever a host leads. None go on where https leads to http.
        """
        give_up_at = time.monotonic() + timeout_seconds
        was_secure, elapsed_seconds = False, 0.0
        for _ in range(MAX_REDIRECTS + 1):
            is_secure = url[:6].lower() == "https:"
            own = self._headers.of(url) if is_secure or not was_secure else ()
            was_secure = was_secure or is_secure
            line.send_fields([*own, *conditions])
            status = line.call(url, give_up_at - time.monotonic(), take_up_to)
            elapsed_seconds += line.curl.getinfo(pycurl.TOTAL_TIME)
            next_url = line.curl.getinfo(pycurl.REDIRECT_URL) if status in _REDIRECTS else None
            if not next_url:
                return status, elapsed_seconds
            if _HAS_LOGIN.match(line.reply.header(b"location") or ""):  # which libcurl leaves out
                raise fault(pycurl.E_LOGIN_DENIED)
            url = next_url
        raise fault(pycurl.E_TOO_MANY_REDIRECTS)

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
        line = (
            self._line("trusted", self._trusted_line)
            if trusted
            else self._line("post", self._posting_line)
        )
        fields = [f"{name}: {value}" for name, value in headers.items()]
        line.curl.setopt(pycurl.HTTPHEADER, ["Expect:", *fields])
        line.curl.setopt(pycurl.POSTFIELDS, body)
        try:
            status = line.call(url, timeout_seconds)
        except ImageFailed as error:
            raise PostFailed(f"{error.code} {error}") from error
        return Posted(status, line.reply.retry_after_seconds())

    def check(self, url: str) -> None:
        """Raise BadRequest for a URL that may not be called, saying why. Connects to nothing.

        A name that cannot be resolved within `CHECK_TIMEOUT_SECONDS` is accepted: it may be there
        tomorrow, and every address is judged again when it is dialled. So is a name of which only
        some addresses are refused.
        """
        line = self._new_line(Reply(self._guard, _open_nothing))
        try:
            line.call(url, CHECK_TIMEOUT_SECONDS)
        except ImageFailed as error:
            if error.code == ErrorCode.FORBIDDEN_ADDRESS:
                raise BadRequest(f"the URL may not be called: {error}") from error

    def close(self) -> None:
        """Close every idle connection; a call under way ends first."""
        self._local = threading.local()

    def _line(self, purpose: str, new_line: Callable[[], Line]) -> Line:
        """This thread's line for a purpose. They share no connections: libcurl does not ask again
        whether it may dial when it reuses one that another purpose was allowed."""
        lines = self._local.__dict__
        if purpose not in lines:
            lines[purpose] = new_line()
        line: Line = lines[purpose]
        return line

    def _fetching_line(self) -> Line:
        line = self._new_line(
            Reply(self._guard, self._open_socket, max_body_bytes=self._max_image_bytes)
        )
        line.curl.setopt(pycurl.MAXFILESIZE_LARGE, self._max_image_bytes)
        line.curl.setopt(pycurl.ACCEPT_ENCODING, "identity")
        return line

    def _posting_line(self) -> Line:
        return self._new_line(Reply(self._guard, self._open_socket, enough_from=200))

    def _trusted_line(self) -> Line:
        line = self._new_line(Reply(None, self._open_socket, enough_from=200))
        line.curl.setopt(pycurl.PROXY, "")
        return line

    def _new_line(self, reply: Reply) -> Line:
        curl = pycurl.Curl()
        curl.setopt(pycurl.OPENSOCKETFUNCTION, reply.open_socket)
        curl.setopt(pycurl.HEADERFUNCTION, reply.read_header)
        curl.setopt(pycurl.WRITEFUNCTION, reply.read_body)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(_QUICK_EXIT, 1)  # else closing waits for a name server that does not answer
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)  # one image at a time
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(_DISALLOW_USERNAME_IN_URL, 1)
        curl.setopt(pycurl.PROXY, self._proxy_url)  # empty: not the environment's either
        curl.setopt(pycurl.NOPROXY, "")  # else $no_proxy goes round the proxy, unguarded
        curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)  # the proxy's status is not the host's
        curl.setopt(pycurl.CONNECTTIMEOUT, CONNECT_TIMEOUT_SECONDS)
        curl.setopt(pycurl.BUFFERSIZE, _RECEIVE_BUFFER_BYTES)
        curl.setopt(pycurl.USERAGENT, self._user_agent)
        if self._ca_bundle:
            curl.setopt(pycurl.CAINFO, self._ca_bundle)
        return Line(curl, reply)


def _conditions(known: Source | None) -> list[str]:
    """RFC 9110, 13.1; a host that knows entity tags goes by the first alone."""
    if known is None:
        return []
    fields = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return [f"{name}: {value}" for name, value in fields.items() if value]


def _open_nothing(_address: SocketAddress) -> socket.socket:
    raise OSError("only asked whether it may be dialled")
