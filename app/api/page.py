"""`GET /`: the page for people, and its assets; everything on it is asked for through the API.

The page is one document whose views are told apart by its query: a new catalogue, one request
(`?request=<id>`), all of them (`?requests=<status>`).
"""

import time
from pathlib import Path
from typing import Annotated

from flask import Blueprint, Response, current_app, make_response, render_template, request
from flask.helpers import send_from_directory
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.described import Reply, describe, undescribed
from app.api.lazy import lazy_services
from app.api.owner import SESSION_COOKIE, open_to_all
from app.api.parsing import Fields, NoParameters, read_query
from app.config import VERSION
from app.keys import Keys
from app.models import OutputFormat

_WEB = Path(__file__).parents[1] / "web"

blueprint = Blueprint("page", __name__, template_folder=str(_WEB / "templates"))

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' http: https:",  # pictures before their compression, from where they are
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


class PageQuery(Fields):
    """What the script reads from the address; the server only knows the names."""

    request: Annotated[str | None, Field(title="Shows this request")] = None
    requests: Annotated[str | None, Field(title="Shows earlier requests, of this status")] = None


@blueprint.get("/")
@describe(
    "service",
    "The page for people",
    query=PageQuery,
    replies={200: Reply("the page", media_types=("text/html",))},
)
@open_to_all
def show_page() -> ResponseReturnValue:
    read_query(PageQuery)
    settings = lazy_services().settings
    page = render_template(
        "page.html",
        base_url=settings.base_url,
        formats=list(OutputFormat),
        has_keys=bool(settings.keys),
        is_signed_in=_is_signed_in(),
        settings=settings,
        version=VERSION,
    )
    reply = make_response(page)
    reply.headers["Content-Security-Policy"] = POLICY
    return reply


@blueprint.get("/static/<path:name>")
@undescribed("what the page loads")
@open_to_all
def show_asset(name: str) -> ResponseReturnValue:
    """Asked for anew each time, and answered 304 until a new version of the service is there."""
    read_query(NoParameters)
    reply: Response = send_from_directory(_WEB / "static", name)
    reply.headers["Cache-Control"] = "no-cache"
    return reply


def _is_signed_in() -> bool:
    keys: Keys = current_app.extensions["pressroom_keys"]
    session = request.cookies.get(SESSION_COOKIE, "")
    return bool(keys) and keys.owner_of_session(session, time.time()) is not None
