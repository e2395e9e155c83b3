"""Exceptions → JSON replies: `{"error": …}` with what a person can act on, and never more.

The headers that belong to an HTTP error (Allow, Content-Range, Retry-After) stay.
"""

import structlog
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from app.api.bodies import fault_bodies
from app.errors import (
    BadCatalog,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PressroomError,
    TooLarge,
    TooOften,
    Unauthorized,
    Unavailable,
)
from app.webhooks import BadSignature

log = structlog.get_logger(__name__)

_STATUSES: dict[type[PressroomError], int] = {
    BadRequest: 400,
    BadSignature: 401,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    TooOften: 429,
    Unavailable: 503,
}


def register_errors(app: Flask) -> None:
    app.register_error_handler(PressroomError, _answer_ours)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unexpected)


def _answer_ours(error: PressroomError) -> Response:
    status = next((_STATUSES[cls] for cls in type(error).__mro__ if cls in _STATUSES), None)
    if status is None:
        return _answer_unexpected(error)
    reply = _reply(str(error), status)
    if isinstance(error, BadCatalog) and error.fault_count:
        details = {"faults": error.fault_count, "details": fault_bodies(error.faults)}
        reply = jsonify({"error": str(error)} | details)
        reply.status_code = status
    if isinstance(error, Unauthorized):
        reply.headers["WWW-Authenticate"] = 'Bearer realm="Pressroom"'
    if isinstance(error, Unavailable | TooOften):
        reply.headers["Retry-After"] = str(error.retry_after_seconds)
    return reply


def _answer_http(error: HTTPException) -> Response:
    reply = _reply(_sentence(error), error.code or 500)
    for name, value in error.get_headers(request.environ):
        if name.lower() != "content-type":
            reply.headers.add(name, value)
    return reply


def _sentence(error: HTTPException) -> str:
    if error.code == 404:
        return "there is nothing here; begin with POST /upload and follow the status_url it answers"
    if error.code == 405:
        allowed = dict(error.get_headers()).get("Allow", "")
        return f"{request.method} is not possible here; allowed are {allowed}"
    if error.code == 413:
        return f"the body is larger than the {request.max_content_length:,} bytes allowed here"
    return error.description or error.name


def _answer_unexpected(error: Exception) -> Response:
    log.error("request failed", method=request.method, path=request.path, exc_info=error)
    return _reply("something went wrong here, not with you; the service's log says what", 500)


def _reply(message: str, status: int) -> Response:
    reply = jsonify({"error": message})
    reply.status_code = status
    return reply
