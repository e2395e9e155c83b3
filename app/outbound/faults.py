"""What went wrong in a call → the ImageFailed that says so. Called by `line` and `Outbound`.

Messages are ours alone: libcurl's and the host's own words may hold paths, names and worse.
"""

from http import HTTPStatus

import pycurl

from app.errors import ImageFailed
from app.models import ErrorCode

MAX_REDIRECTS = 10

_STATUSES = frozenset(HTTPStatus)
_HEAL_LATER = frozenset({408, 425, 429})
_TRANSIENT_FAULTS = {
    pycurl.E_COULDNT_RESOLVE_HOST: (ErrorCode.DNS, "the host's name cannot be resolved"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (ErrorCode.CONNECT, "the proxy's name cannot be resolved"),
    pycurl.E_COULDNT_CONNECT: (ErrorCode.CONNECT, "the host cannot be reached"),
    pycurl.E_GOT_NOTHING: (ErrorCode.CONNECT, "the host hung up without an answer"),
    pycurl.E_SEND_ERROR: (ErrorCode.CONNECT, "the connection was lost"),
    pycurl.E_RECV_ERROR: (ErrorCode.CONNECT, "the connection was lost"),
    pycurl.E_SSL_CONNECT_ERROR: (ErrorCode.CONNECT, "the TLS handshake failed"),
    pycurl.E_PARTIAL_FILE: (ErrorCode.TRUNCATED, "the host sent less than it announced"),
    pycurl.E_FTP_WEIRD_SERVER_REPLY: (ErrorCode.CONNECT, "the host's answer is not HTTP"),
    pycurl.E_SSL_CACERT_BADFILE: (
        ErrorCode.TLS_UNTRUSTED,
        "there is no CA bundle here to check certificates with, see CA_BUNDLE",
    ),
}
_PERMANENT_FAULTS = {
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
        "a URL with a user name or password is not called",
    ),
    pycurl.E_BAD_CONTENT_ENCODING: (
        ErrorCode.DECODE_FAILED,
        "the Content-Encoding of the answer cannot be undone",
    ),
}
_UNFORESEEN = (ErrorCode.CONNECT, "the exchange with the host failed")
_OTHER_HOST = (ErrorCode.TLS_HOST, "the certificate is for another host")
_CERTIFICATE_FAULTS = {  # by OpenSSL's X509_V_ERR_…
    1: _OTHER_HOST,  # unspecified: libcurl itself looks at the name, before OpenSSL's verdict
    9: (ErrorCode.TLS_EXPIRED, "the certificate is not valid yet"),
    10: (ErrorCode.TLS_EXPIRED, "the certificate has expired"),
    18: (ErrorCode.TLS_UNTRUSTED, "the certificate is self-signed"),
    62: _OTHER_HOST,
    64: _OTHER_HOST,
}
_UNTRUSTED = (ErrorCode.TLS_UNTRUSTED, "the certificate is signed by nobody trusted here")


def fault(curl_code: int) -> ImageFailed:
    """For libcurl's own result codes, as far as they say enough."""
    permanent = _PERMANENT_FAULTS.get(curl_code)
    code, message = permanent or _TRANSIENT_FAULTS.get(curl_code, _UNFORESEEN)
    return ImageFailed(code, message, permanent=permanent is not None)


def certificate_fault(verdict: int) -> ImageFailed:
    """For a certificate that OpenSSL gave an X509_V_ERR_… as its verdict on."""
    code, message = _CERTIFICATE_FAULTS.get(verdict, _UNTRUSTED)
    return ImageFailed(code, message, permanent=True)


def status_fault(status: int, retry_after_seconds: float | None) -> ImageFailed:
    """For an answer that is not the image."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else "without a registered meaning"
    is_permanent = status < 500 and status not in _HEAL_LATER
    return ImageFailed(
        f"http_{status}", phrase, permanent=is_permanent, retry_after_seconds=retry_after_seconds
    )
