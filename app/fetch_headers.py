"""Headers that some hosts want with every fetch, such as the right to see their images.

In: the file FETCH_HEADERS_FILE, a JSON object from hosts to headers:

    {"shop.example": {"Authorization": "Bearer …"}, "*.cdn.example:8443": {"X-Key": "…"}}

A host without a port means its ports 80 and 443; `*.` stands for whatever is below, at any depth;
of several that fit, the longest name counts alone. Out: the headers of one URL. Read by `config`,
asked by `outbound` before every hop. Values are secrets, and stand in no message.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Fields = tuple[str, ...]
"""Lines `Name: value`, as libcurl takes them."""

_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]", re.ASCII)
_PORT = re.compile(r":([1-9][0-9]{0,4})", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
# Stricter than any client, so that no URL means one host here and another to libcurl.
_URL = re.compile(
    r"(https?)://((?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?=[/?#]|$)",
    re.ASCII | re.IGNORECASE,
)
_OURS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "expect", "host", "if-match"),
        *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive"),
        *("proxy-authorization", "proxy-connection", "range", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
"""What the service sets itself, or what would change how an answer is to be read."""


class FetchHeaders:
    """By host and port. Immutable, shared by all threads."""

    def __init__(self, by_host: Mapping[str, Fields] | None = None):
        self._by_host = dict(by_host or {})

    def of(self, url: str) -> Fields:
        """What is sent with a fetch of `url`; nothing if its host cannot be told for certain."""
        match = _URL.match(url) if self._by_host else None
        if match is None:
            return ()
        scheme, host = match[1].lower(), match[2].lower()
        port = int(match[3] or (443 if scheme == "https" else 80))
        for name in _names(host):
            for key in (f"{name}:{port}", *([name] if port in (80, 443) else [])):
                if key in self._by_host:
                    return self._by_host[key]
        return ()


def read_fetch_headers(path: Path) -> FetchHeaders:
    """Raises ValueError with the line and the reason, and OSError."""
    try:
        text = path.read_text("utf-8-sig")
        table = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: it is no JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError("line 1: it is no JSON in UTF-8") from error
    if not isinstance(table, _Pairs):
        raise ValueError('line 1: it is not an object such as {"shop.example": {"X-Key": "…"}}')
    by_host: dict[str, Fields] = {}
    for host, headers in table:
        line = _line_of(host, text)
        key = host.lower()
        if not _is_host(key):
            raise ValueError(
                f"line {line}: {host!r} is no host such as shop.example, *.cdn.example or "
                "shop.example:8443"
            )
        if key in by_host:
            raise ValueError(f"line {line}: {host} is there twice")
        if not isinstance(headers, _Pairs):
            raise ValueError(f"line {line}: what {host} is given is no object of headers")
        by_host[key] = _fields(headers, text, line)
    return FetchHeaders(by_host)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written, repeats and all."""


def _fields(headers: _Pairs, text: str, from_line: int) -> Fields:
    names = set()
    fields = []
    for name, value in headers:
        at = f"line {_line_of(name, text, from_line)}"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{at}: {name!r} is no name of a header")
        if name.lower() in _OURS:
            raise ValueError(f"{at}: {name} is set by the service itself")
        if name.lower() in names:
            raise ValueError(f"{at}: {name} is there twice for one host")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(
                f"{at}: the value of {name} is no text of printable ASCII on one line, without "
                "spaces around it"
            )
        names.add(name.lower())
        fields.append(f"{name}: {value}")
    return tuple(fields)


def _names(host: str) -> list[str]:
    """The host, then what it lies below, the longest name first."""
    parts = host.split(".")
    return [host, *(f"*.{'.'.join(parts[start:])}" for start in range(1, len(parts)))]


def _is_host(key: str) -> bool:
    host = _HOST.match(key)
    rest = key[host.end() :] if host else key
    port = _PORT.fullmatch(rest)
    return bool(host) and (not rest or (port is not None and int(port[1]) <= 65_535))


def _line_of(name: str, text: str, from_line: int = 1) -> int:
    """Where a name stands first from that line on; that line if it is written with escapes."""
    quoted = json.dumps(name, ensure_ascii=False)
    for number, line in enumerate(text.splitlines(), start=1):
        if number >= from_line and quoted in line:
            return number
    return from_line
