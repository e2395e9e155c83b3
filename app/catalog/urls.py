"""An image URL as a file has it → the URL to fetch. Called by `reading` and `segment_run`.

Only the form is judged here; whether an address may be called is for `outbound` to say.
"""

import ipaddress
import re
from urllib.parse import quote

import idna

# A URL that needs nothing done to it and holds no separator of lists. Most URLs are so; for them
# this one match stands for everything below. The classes of one label and its dot are disjoint, so
# that no input makes the match backtrack far. Both cases are spelt out: to ignore case takes twice
# as long.
_PLAIN = (
    r"[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9_][A-Za-z0-9_-]*\.)*[A-Za-z0-9_][A-Za-z0-9_-]*"
    r"(?::[1-9][0-9]{0,3})?(?:[/?#][!#$%&'()*+\-./0-9:=?@A-Z_a-z~\[\]]*+)?"
)
PLAIN_URL = re.compile(_PLAIN)
PLAIN_URLS = re.compile(rf"{_PLAIN}(?:(?:,{_PLAIN})*+|(?:\|{_PLAIN})*+)")
"""A list of them, with one kind of separator throughout."""

_HTTP = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_ASCII_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]*\.)*[A-Za-z0-9_][A-Za-z0-9_-]*\.?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KEPT = "!#$%&'()*+,-./:;=?@[]_~"
_SHOWN_CHARACTERS = 100


class BadUrl(ValueError):
    """What stands in a cell is no URL of an image; `str()` says why and what to write instead."""


class RelativeUrl(BadUrl):
    """A path that only a base URL could complete."""


def absolute_url(url: str, base_url: str | None) -> str:
    """Return the ASCII URL to fetch for `url`, which is written as in the file.

    `//host/…` becomes https. A relative path, with or without a leading slash, is put behind
    `base_url`, which is taken as a folder whether it ends with a slash or not: Magento's
    `/m/a.jpg` lies below `…/media/catalog/product`. Spaces and what is not ASCII are
    percent-encoded (existing escapes stay), hosts IDNA-encoded (UTS 46). Raises `BadUrl`.
    """
    if PLAIN_URL.fullmatch(url):
        return url
    url = url.strip()
    control = _CONTROL.search(url)
    if control:
        raise BadUrl(
            f"{shown(url)} contains the control character U+{ord(control[0]):04X}: remove it"
        )
    if url.startswith("//"):
        url = "https:" + url
    match = _HTTP.fullmatch(url)
    if match:
        scheme, authority, rest = match.groups()
        return f"{scheme}://{_authority(url, authority)}{quote(rest, safe=_KEPT)}"
    return _completed(url, base_url)


def shown(text: str) -> str:
    """Return `text` quoted for a message, cut when it is long."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…")


def _completed(url: str, base_url: str | None) -> str:
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() in ("http", "https"):
        raise BadUrl(f"{shown(url)} names no host: write it as {scheme[1]}://host/path")
    if scheme:
        raise BadUrl(f"{shown(url)} begins with {scheme[1]}: but only http and https are fetched")
    if not url:
        raise BadUrl("the URL is empty: write one that begins with https://")
    if base_url is None:
        raise RelativeUrl(f"{shown(url)} is a relative path: write a whole URL (https://…)")
    return absolute_url(base_url.strip().rstrip("/") + "/" + url.lstrip("/"), None)


def _authority(url: str, authority: str) -> str:
    if "@" in authority:
        # neither the URL nor what is before the @ is repeated: it may be a password
        host = authority.rpartition("@")[2]
        raise BadUrl(f"the URL carries a user name or password: remove all before {shown(host)}")
    match = _AUTHORITY.fullmatch(authority)
    host, port = match.groups() if match else ("", None)
    if match is None or (port and not 0 < int(port.lstrip("0")[:6] or 0) < 65536):
        raise BadUrl(f"{shown(url)} has a bad host or port: ports go from 1 to 65535")
    if not host:
        raise BadUrl(f"{shown(url)} names no host: write it as https://host/path")
    return _host(host) + (f":{port}" if port else "")


def _host(host: str) -> str:
    if host.startswith("["):
        return _ipv6_host(host)
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise BadUrl(f"{shown(host)} is not a host name: {error}") from error
    if len(host) > 254 or not _ASCII_HOST.fullmatch(host):
        raise BadUrl(f"{shown(host)} is not a host name: write letters, digits, dots and hyphens")
    return host


def _ipv6_host(host: str) -> str:
    try:
        has_zone = ipaddress.IPv6Address(host[1:-1]).scope_id is not None
    except ValueError as error:
        raise BadUrl(f"{shown(host)} is not an IPv6 address") from error
    if has_zone:
        raise BadUrl(f"{shown(host)} is not an IPv6 address alone: remove the % and what follows")
    return host
