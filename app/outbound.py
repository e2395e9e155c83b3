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
_DRAINED_BYTES = 65_536  # of a body nobody wants: cheaper than a new connection up to here
_RECEIVE_BUFFER_BYTES = 131_072  # libcurl's own 16 KiB calls Python thrice for a small photograph
_HEAL_LATER = frozenset({408, 425, 429})
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

_CURL_FAULTS = {
    pycurl.E_COULDNT_RESOLVE_HOST: (ErrorCode.DNS, "the host's name cannot be resolved"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (ErrorCode.CONNECT, "the proxy's name cannot be resolved"),
    pycurl.E_COULDNT_CONNECT: (ErrorCode.CONNECT, "the host cannot be reached"),
    pycurl.E_GOT_NOTHING: (ErrorCode.CONNECT, "the host hung up without an answer"),
    pycurl.E_SEND_ERROR: (ErrorCode.CONNECT, "the connection was lost"),
    pycurl.E_RECV_ERROR: (ErrorCode.CONNECT, "the connection was lost"),
    pycurl.E_SSL_CONNECT_ERROR: (ErrorCode.CONNECT, "the TLS handshake failed"),
    pycurl.E_SSL_CACERT_BADFILE: (
        ErrorCode.TLS_UNTRUSTED,
        "there is no CA bundle here to check certificates with, set CA_BUNDLE",
    ),
}
"""What may be otherwise at the next try."""

_PERMANENT_CURL_FAULTS = {
    pycurl.E_TOO_MANY_REDIRECTS: (
        ErrorCode.TOO_MANY_REDIRECTS,
        f"more than {MAX_REDIRECTS} redirects",
    ),
    pycurl.E_UNSUPPORTED_PROTOCOL: (
        ErrorCode.FORBIDDEN_ADDRESS,
        "only http:// and https:// are called",
    ),
    pycurl.E_URL_MALFORMAT: (ErrorCode.FORBIDDEN_ADDRESS, "it is not a well-formed URL"),
    pycurl.E_LOGIN_DENIED: (
        ErrorCode.FORBIDDEN_ADDRESS,
        "URLs with a user name or password are not called",
    ),
    pycurl.E_BAD_CONTENT_ENCODING: (
        ErrorCode.DECODE_FAILED,
        "the Content-Encoding of the answer cannot be undone",
    ),
}

_EXPIRED = (ErrorCode.TLS_EXPIRED, "the certificate has expired")
_OTHER_HOST = (ErrorCode.TLS_HOST, "the certificate is for another host")
_CERTIFICATE_FAULTS = {  # by X509_V_ERR_…, openssl/x509_vfy.h
    0: _OTHER_HOST,  # the chain was found good, so it was libcurl that missed the name
    9: (ErrorCode.TLS_EXPIRED, "the certificate is not valid yet"),
    10: _EXPIRED,
    18: (ErrorCode.TLS_UNTRUSTED, "the certificate is self-signed"),
    62: _OTHER_HOST,
    64: _OTHER_HOST,
}
_UNTRUSTED = (ErrorCode.TLS_UNTRUSTED, "the certificate is signed by nobody trusted here")


class PostFailed(PressroomError):
    """No status came back; the message begins with one of the image codes."""


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


def new_socket(address: SocketAddress) -> socket.socket:
    """A socket that libcurl connects to `address` then."""
    return socket.socket(address.family, address.socktype, address.protocol)


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
        open_socket: OpenSocket = new_socket,
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
        """Get an image within `timeout_seconds` (FETCH_TIMEOUT_SECONDS), dial to last byte.

        Identity is asked for; a gzip, deflate or Brotli body that comes anyway is decoded, within
        the same limit. Raises ImageFailed.
        """
        line = self._line("fetch", self._fetching_line)
        status = line.call(url, timeout_seconds or self._fetch_timeout_seconds)
        body = line.reply.take_body()
        if not 200 <= status < 300:
            raise _refused(status, line.reply.retry_after_seconds())
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
        line = self._new_line(_Reply(self._guard, _open_nothing))
        try:
            line.call(url, CHECK_TIMEOUT_SECONDS)
        except ImageFailed as error:
            if error.code == ErrorCode.FORBIDDEN_ADDRESS:
                raise BadRequest(f"the URL may not be called: {error}") from error

    def close(self) -> None:
        """Close every idle connection; a call under way ends first."""
        self._local = threading.local()

    def _line(self, purpose: str, new_line: "Callable[[], _Line]") -> "_Line":
        """This thread's line for a purpose. They share no connections: libcurl does not ask again
        whether it may dial when it reuses one that another purpose was allowed."""
        lines = self._local.__dict__
        if purpose not in lines:
            lines[purpose] = new_line()
        line: _Line = lines[purpose]
        return line

    def _fetching_line(self) -> "_Line":
        line = self._new_line(
            _Reply(self._guard, self._open_socket, max_body_bytes=self._max_image_bytes)
        )
        line.curl.setopt(pycurl.FOLLOWLOCATION, 1)
        line.curl.setopt(pycurl.MAXREDIRS, MAX_REDIRECTS)
        line.curl.setopt(pycurl.MAXFILESIZE_LARGE, self._max_image_bytes)
        line.curl.setopt(pycurl.ACCEPT_ENCODING, "identity")
        return line

    def _posting_line(self) -> "_Line":
        return self._new_line(_Reply(self._guard, self._open_socket, enough_from=200))

    def _trusted_line(self) -> "_Line":
        line = self._new_line(_Reply(None, self._open_socket, enough_from=200))
        line.curl.setopt(pycurl.PROXY, "")
        return line

    def _new_line(self, reply: "_Reply") -> "_Line":
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
        return _Line(curl, reply)


class _Reply:
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

    def begin(self) -> None:
        self.body = bytearray()
        self.is_too_large = False
        self._start_hop(0)

    def _start_hop(self, status: int) -> None:
        """After a redirect, what was dialled before says nothing of the host it leads to."""
        self.status = status
        self.refusal: str | None = None
        self.has_dialled = False
        self._headers: dict[bytes, bytes] = {}

    @property
    def is_enough(self) -> bool:
        return self.status >= self._enough_from

    def open_socket(self, _purpose: int, address: SocketAddress) -> "_Handover | int":
        """Judge one address of a host; after SOCKET_BAD libcurl goes on to its next address."""
        ip, port = address.addr[:2]
        reason = self._guard.reason_against(ip, port) if self._guard else None
        if reason:
            if self.refusal is None or ":" not in ip:  # people mean the IPv4 one of localhost
                self.refusal = reason
            return int(pycurl.SOCKET_BAD)
        self.has_dialled = True
        try:
            return _Handover(self._open_socket(address))
        except OSError:
            return int(pycurl.SOCKET_BAD)

    def read_header(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            self._start_hop(int(line.split(None, 2)[1]))
        else:
            name, _, value = line.partition(b":")
            self._headers[name.lower()] = value

    def read_body(self, chunk: bytes) -> int | None:
        """Collect what is decoded; libcurl ends the call when 0 comes back."""
        self.body += chunk
        is_wanted = 200 <= self.status < 300
        self.is_too_large = len(self.body) > (self.max_body_bytes if is_wanted else _DRAINED_BYTES)
        return 0 if self.is_too_large else None

    def take_body(self) -> bytearray:
        """The body, which is not kept here: an idle thread would hold it until its next call."""
        body, self.body = self.body, bytearray()
        return body

    def header(self, name: bytes) -> str | None:
        value = self._headers.get(name)
        return None if value is None else value.strip().decode("latin-1")

    def retry_after_seconds(self) -> float | None:
        """Seconds or a date (RFC 9110, 10.2.3), not beyond a day."""
        value = self.header(b"retry-after") or ""
        if value.isascii() and value.isdecimal():
            seconds = float(value)
        else:
            try:
                time = parsedate_to_datetime(value)
            except ValueError:
                return None
            time = time if time.tzinfo else time.replace(tzinfo=UTC)
            seconds = (time - datetime.now(UTC)).total_seconds()
        return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


class _Line:
    """One curl handle with its connections, and the reply that its callbacks fill."""

    def __init__(self, curl: pycurl.Curl, reply: _Reply):
        self.curl = curl
        self.reply = reply

    def call(self, url: str, timeout_seconds: float) -> int:
        """Perform one request and return the status. Raises ImageFailed when none came."""
        if not url.isascii() or not url.lower().startswith(("http://", "https://")):
            raise _fault(pycurl.E_UNSUPPORTED_PROTOCOL)
        self.reply.begin()
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(timeout_seconds * 1000)))
        try:
            self.curl.perform()
        except pycurl.error as error:
            if not self.reply.is_enough:
                raise self._failure(*error.args, timeout_seconds) from error
            self.reply.take_body()
        return self.reply.status
