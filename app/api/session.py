"""`POST /session`: an API key becomes a cookie, for people with a browser; `DELETE` removes it."""

import time
from typing import Annotated

from flask import Blueprint, Response, current_app, request
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.described import Reply, Sent, describe
from app.api.lazy import lazy_services
from app.api.owner import SESSION_COOKIE, open_to_all, sent_key
from app.api.parsing import Fields, NoParameters, read_fields, read_query, refuse_unknown
from app.errors import BadRequest, Unauthorized
from app.keys import SESSION_SECONDS, Keys, new_session

blueprint = Blueprint("session", __name__)

_MAX_BODY_BYTES = 4_096
_NO_KEY = "that is no valid API key: send one as the form field key"


class SessionForm(Fields):
    key: Annotated[str | None, Field(title="An API key; or in the header, as everywhere")] = None


@blueprint.post("/session")
@describe(
    "session",
    "Exchange a key for a cookie",
    details="For the page, its downloads and `/docs`. Without API_KEYS no cookie is set.",
    sent=Sent(
        SessionForm,
        ("application/x-www-form-urlencoded", "multipart/form-data"),
        required=("key",),
        is_optional=True,
        examples=lambda _: {"key": {"key": "3d9a41f6c58e"}},
    ),
    replies={204: Reply("Set-Cookie has it", media_types=())},
    errors={
        401: _NO_KEY,
        413: f"the body is larger than the {_MAX_BODY_BYTES:,} bytes allowed here",
    },
)
@open_to_all
def begin_session() -> ResponseReturnValue:
    """The key comes as the form field `key`, or as everywhere in the header."""
    read_query(NoParameters)
    request.max_content_length = _MAX_BODY_BYTES
    form = _form()
    keys: Keys = current_app.extensions["pressroom_keys"]
    key = form.key or sent_key() or ""
    if keys and keys.owner_of(key) is None:
        raise Unauthorized(_NO_KEY)
    reply = Response(status=204)
    if keys:  # else everybody is in already
        _set_cookie(reply, new_session(key, time.time()), SESSION_SECONDS)
    return reply


def _form() -> SessionForm:
    """Raises BadRequest, also for a body of which no field can be read."""
    texts = request.form.to_dict(flat=False)
    refuse_unknown([*texts, *request.files], SessionForm.model_fields, "field")
    if request.content_length and not texts:
        raise BadRequest("the body is no form with a key: send key=<key>, or no body at all")
    return read_fields(SessionForm, texts, "field")


@blueprint.delete("/session")
@describe(
    "session",
    "Remove the cookie",
    replies={204: Reply("it is removed", media_types=())},
)
@open_to_all
def end_session() -> ResponseReturnValue:
    read_query(NoParameters)
    reply = Response(status=204)
    _set_cookie(reply, "", 0)
    return reply


def _set_cookie(reply: Response, token: str, seconds: int) -> None:
    """Strict: no page of another site can make a browser send it along."""
    reply.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=seconds,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure or lazy_services().settings.base_url.startswith("https:"),
    )
