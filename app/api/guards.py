"""What pages may make a visitor's browser do here: those of other sites, by default, nothing.

Runs around every view. Programs send none of the headers judged here, and are not concerned.
"""

from urllib.parse import urlsplit

from flask import Flask, Response, request

from app.config import Settings
from app.errors import Forbidden

POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""Of a reply that is no page of ours: opened, it loads and runs nothing, and stands in no frame."""
_HARDENED = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # no-referrer makes browsers send `Origin: null` to us too
    "Cache-Control": "no-store",
}
_READING = ("GET", "HEAD", "OPTIONS")
_FROM_ANYWHERE = "webhook.receive_webhook"
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, Prefer"
_REPLY_HEADERS = "Content-Disposition, Location, Preference-Applied, Retry-After"
_PREFLIGHT_SECONDS = "600"


def register_guards(app: Flask, settings: Settings) -> None:
    """Before what asks for a key: a foreign page is refused whoever its visitor is."""
    base_url_host = urlsplit(settings.base_url).hostname
    if not settings.keys and (settings.is_on_loopback or base_url_host in _THIS_MACHINE):
        app.before_request(_HostGuard(settings).refuse_foreign)
    guard = _OriginGuard(settings)
    app.before_request(guard.refuse_foreign)
    app.after_request(guard.allow_listed)
    app.after_request(_harden)


class _HostGuard:
    """Keeps a page out whose own name was made to lead to this machine (DNS rebinding).

    Its browser takes the service for that page's site, so that the name is all that tells.
    """

    def __init__(self, settings: Settings):
        base_url_host = urlsplit(settings.base_url).hostname
        self._names = {*_THIS_MACHINE, settings.host.lower(), base_url_host}

    def refuse_foreign(self) -> None:
        """Raises Forbidden."""
        host = _host()
        if host is not None and _name_of(host) not in self._names:
            raise Forbidden(
                f"this service is for its own machine, and is not called {host[:100]!r}: use the "
                "name in BASE_URL, or set API_KEYS to open it to others"
            )


class _OriginGuard:
    """Keeps pages of other sites from changing anything, unless they are listed."""

    def __init__(self, settings: Settings):
        self._listed = settings.listed_origins
        parts = urlsplit(settings.base_url)
        self._own_origin = f"{parts.scheme}://{parts.netloc}".lower()

    def refuse_foreign(self) -> None:
        """Raises Forbidden."""
        if request.method in _READING or request.endpoint == _FROM_ANYWHERE:
            return
        origin = request.headers.get("Origin")
        if origin not in self._listed and self._is_foreign(origin):
            raise Forbidden(
                f"a page of {(origin or 'another site')[:100]} may not do this here; list its "
                "origin in CORS_ORIGINS if it should"
            )

    def _is_foreign(self, origin: str | None) -> bool:
        """Over plain HTTP to another machine browsers send `Origin` alone."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site not in ("same-origin", "none")
        if origin is None or origin == self._own_origin:
            return False
        return origin.partition("://")[2] != _host()

    def allow_listed(self, response: Response) -> Response:
        """What a listed page may read, and send (Fetch standard, section 3.3).

        No credentials: it has a key of its own, and does not borrow its visitor's session.
        """
        if self._listed:
            response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin in self._listed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _REPLY_HEADERS
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
                response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
                response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        return response


def _harden(response: Response) -> Response:
    """A view that knows better has set its own header already; nosniff has no exception."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    for name, value in _HARDENED.items():
        response.headers.setdefault(name, value)
    if request.method == "OPTIONS" or response.status_code == 204:
        response.headers.remove("Content-Type")  # Flask calls empty replies HTML
    return response


def _host() -> str | None:
    """As the browser sent it, whatever a proxy says: a rebound page could say that itself."""
    host: str | None = request.environ.get("HTTP_HOST")
    return host and host.lower()


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
