"""Who calls: told from an API key or a session before any view runs, and asked for by the views.

Without a key nothing is reached but what is marked `open_to_all`; so a new route is closed until
somebody opens it.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, current_app, g, request

from app.errors import Unauthorized
from app.keys import DEFAULT_OWNER, Keys

SESSION_COOKIE = "pressroom_session"
_View = TypeVar("_View", bound=Callable[..., Any])


def open_to_all(view: _View) -> _View:
    """Marks a view that needs no key. Below `blueprint.get(…)`."""
    view.is_open_to_all = True  # type: ignore[attr-defined]
    return view


def is_open_to_all(view: Callable[..., Any] | None) -> bool:
    return getattr(view, "is_open_to_all", False)


def register_owner(app: Flask, keys: Keys) -> None:
    """`keys` may be none: then everybody is the owner of bare keys."""
    app.extensions["pressroom_keys"] = keys
    app.before_request(_identify)


def current_owner() -> str:
    """Whose requests the present caller may see. Not for views that are open to all."""
    return cast(str, g.owner)


def sent_key() -> str | None:
    """What the present request says after `Authorization: Bearer` (RFC 6750, 2.1)."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _identify() -> None:
    """Raises Unauthorized."""
    keys: Keys = current_app.extensions["pressroom_keys"]
    if not keys:
        g.owner = DEFAULT_OWNER
        return
    if _is_open():  # and knows no owner: what asks for one all the same fails
        return
    key = sent_key()
    if key is not None:
        owner = keys.owner_of(key)
    else:
        owner = keys.owner_of_session(request.cookies.get(SESSION_COOKIE, ""), time.time())
    if owner is None:
        raise Unauthorized("an API key is needed: send the header Authorization: Bearer <key>")
    g.owner = owner


def _is_open() -> bool:
    """A preflight never carries a key, and is told nothing but methods."""
    view = current_app.view_functions.get(request.endpoint or "")
    return request.method == "OPTIONS" or is_open_to_all(view)
