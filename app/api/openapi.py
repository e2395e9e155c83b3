"""The views' descriptions → the OpenAPI 3.1 document of `/openapi.json`. Called by `docs`.

What is said of types, limits, defaults and words comes from the very models that parse what is
sent (`Fields`), the types of what is answered (`replies`), the enums and the settings.
"""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from apispec import APISpec
from apispec_webframeworks.flask import FlaskPlugin
from flask import Flask
from werkzeug.routing import Rule

from app import webhooks
from app.api.described import JSON, Description, Reply, Schema, Sent, description_of
from app.api.owner import SESSION_COOKIE, is_open_to_all
from app.api.replies import Accepted, Error, WebhookPayload
from app.api.schemas import Schemas, is_sent
from app.config import VERSION, Settings
from app.keys import SESSION_SECONDS

_SECURITY: list[Schema] = [{"key": []}, {"session": []}]
_ABOUT = """\
Upload a CSV of image URLs, follow the request, download the CSV of the compressed images' URLs.

Every error is JSON, `{"error": "one sentence"}`. An unknown field or query parameter is 400 and is
named; an empty one counts as absent. An `Origin` of another site is 403 on POST and DELETE, unless
it is listed. docs/errors.md says what to do about each error.
"""
_TAGS = {
    "requests": "From the upload to its deletion.",
    "results": "What has become of the images.",
    "webhooks": "Events of other services, and of this one, as they are received here.",
    "session": "A key for people with a browser.",
    "service": "How the service is, and what it can do.",
}
_REQUEST_ID: Schema = {
    "description": "as the upload was answered; one that is no UUID is 404",
    "schema": {"type": "string", "format": "uuid"},
}
_EVERYWHERE = {
    400: "unknown query parameter 'colour': none is allowed here",
    401: "an API key is needed: send the header Authorization: Bearer <key>",
    403: "a page of https://other.example may not do this here; list its origin in CORS_ORIGINS if "
    "it should",
    500: "something went wrong here, not with you; the service's log says what",
}
_ERROR_HEADERS = {
    429: {"Retry-After": "seconds to wait"},
    503: {"Retry-After": "seconds to wait"},
}
_WEBHOOK = f"""\
With `webhook_events=all` there are `request.started` and `request.progress` too; the other ends are
`request.cancelled` and `request.failed`. An answer has {webhooks.TIMEOUT_SECONDS} seconds;
redirects are not followed.
"""
_TRIES = (
    f"it is tried again, {len(webhooks.WAITS_SECONDS)} times in "
    f"{sum(webhooks.WAITS_SECONDS) // 86_400} days"
)


def document_of(app: Flask, settings: Settings) -> Schema:
    """Of all routes that the app has by now. Raises LookupError for one without a description."""
    routes = list(_routes(app))
    links = _links(routes)
    used = (each for _, _, description in routes for each in _types(description))
    schemas = Schemas([Error, WebhookPayload, *used])
    spec = APISpec(
        title="Pressroom",
        version=VERSION,
        openapi_version="3.1.0",
        plugins=[FlaskPlugin()],
        info={"description": _ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        security=_SECURITY if settings.keys else [{}, *_SECURITY],
        webhooks={"request.completed": {"post": _webhook(schemas)}},
    )
    for name, scheme in _security_schemes().items():
        spec.components.security_scheme(name, scheme)
    for name, schema in schemas.components.items():
        spec.components.schema(name, schema)
    for view, rule, description in routes:
        operation = _operation(view, rule, description, schemas, settings)
        for status, reply in description.replies.items():
            if Accepted in reply.bodies:
                operation["responses"][str(status)]["links"] = links
        spec.path(view=view, app=app, operations={_method(rule): operation})
    return dict(spec.to_dict())


def _routes(app: Flask) -> Iterator[tuple[Callable[..., Any], Rule, Description]]:
    """In the order in which they were registered."""
    for endpoint, view in app.view_functions.items():
        description = description_of(view)
        for rule in app.url_map.iter_rules(endpoint) if description else ():
            assert description
            yield view, rule, description


def _links(routes: list[tuple[Callable[..., Any], Rule, Description]]) -> Schema:
    """From an answer that names a request to all that can be asked of it."""
    return {
        view.__name__: {
            "operationId": view.__name__,
            "parameters": {"request_id": "$response.body#/request_id"},
        }
        for view, rule, _ in routes
        if rule.arguments == {"request_id"}
    }


def _method(rule: Rule) -> str:
    """Of a view that has one, beside those that Flask adds."""
    (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return method.lower()


def _types(description: Description) -> Iterator[Any]:
    yield description.query
    for reply in description.replies.values():
        yield from reply.bodies
    if description.sent:
        yield description.sent.body


def _security_schemes() -> dict[str, Schema]:
    hours = SESSION_SECONDS // 3_600
    return {
        "key": {"type": "http", "scheme": "bearer", "description": "one of API_KEYS"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": SESSION_COOKIE,
            "description": f"what POST /session sets, for {hours} hours",
        },
    }


def _operation(
    view: Callable[..., Any],
    rule: Rule,
    description: Description,
    schemas: Schemas,
    settings: Settings,
) -> Schema:
    operation: Schema = {
        "operationId": view.__name__,
        "tags": [description.tag],
        "summary": description.summary,
        "parameters": list(_parameters(rule, description, schemas)),
        "responses": _responses(view, description, schemas, settings),
    }
    if description.details:
        operation["description"] = description.details
    if description.sent:
        operation["requestBody"] = _request_body(description.sent, schemas, settings)
    if is_open_to_all(view):
        operation["security"] = []
    return operation


def _parameters(rule: Rule, description: Description, schemas: Schemas) -> Iterator[Schema]:
    for name in sorted(rule.arguments, key=rule.rule.index):
        parameter = _REQUEST_ID if name == "request_id" else description.path[name]
        yield {"name": name, "in": "path", "required": True, **parameter}
    for name, schema in schemas.fields(description.query).items():
        said = {"description": schema.pop("description")}
        yield {"name": name, "in": "query", **said, "allowEmptyValue": True, "schema": schema}
    for name, parameter in description.headers.items():
        yield {"name": name, "in": "header", **parameter}


def _request_body(sent: Sent, schemas: Schemas, settings: Settings) -> Schema:
    schema = _form(sent, schemas, settings) if is_sent(sent.body) else schemas.reference(sent.body)
    examples = sent.examples(settings) or {sent.body.__name__: schemas.example(schema)}
    content: Schema = {"schema": schema, "examples": _examples(examples)}
    if sent.file:
        content["encoding"] = {"file": {"contentType": ", ".join(sent.file_types)}}
    return {"required": not sent.is_optional, "content": dict.fromkeys(sent.media_types, content)}


def _form(sent: Sent, schemas: Schemas, settings: Settings) -> Schema:
    fields = schemas.fields(sent.body)
    for name, value in sent.defaults(settings).items():
        fields[name]["default"] = value
    required = list(sent.required)
    if sent.file:
        text = sent.file.format(settings=settings)
        file = {"type": "string", "format": "binary", "description": text}
        fields = {"file": file, **fields}
        required.append("file")
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
    }


def _responses(
    view: Callable[..., Any], description: Description, schemas: Schemas, settings: Settings
) -> Schema:
    replies = {str(s): _reply(reply, schemas) for s, reply in description.replies.items()}
    everywhere = {s: e for s, e in _EVERYWHERE.items() if not (s == 401 and is_open_to_all(view))}
    errors = everywhere | dict(description.errors)
    return replies | {str(s): _error(s, errors[s], schemas, settings) for s in sorted(errors)}


def _reply(reply: Reply, schemas: Schemas) -> Schema:
    described = {"description": reply.text, **_headers(reply.headers)}
    if not reply.media_types:
        return described
    return described | {"content": dict.fromkeys(reply.media_types, _content(reply, schemas))}


def _content(reply: Reply, schemas: Schemas) -> Schema:
    bodies = {body.__name__: schemas.reference(body) for body in reply.bodies}
    if not bodies:
        return {}
    schema, *others = bodies.values()
    return {
        "schema": {"anyOf": [schema, *others]} if others else schema,
        "examples": _examples({name: schemas.example(body) for name, body in bodies.items()}),
    }


def _examples(bodies: Mapping[str, Any]) -> Schema:
    return {name: {"value": body} for name, body in bodies.items()}


def _error(status: int, example: str | Schema, schemas: Schemas, settings: Settings) -> Schema:
    body = example
    if isinstance(example, str):
        body = {"error": example.format(settings=settings)}
    return {
        "description": HTTPStatus(status).phrase,
        **_headers(_ERROR_HEADERS.get(status, {})),
        "content": {
            JSON: {"schema": schemas.reference(Error), "examples": _examples({"Error": body})}
        },
    }


def _headers(headers: Mapping[str, str]) -> Schema:
    described = {
        name: {"description": text, "required": True, "schema": {"type": "string"}}
        for name, text in headers.items()
    }
    return {"headers": described} if described else {}


def _webhook(schemas: Schemas) -> Schema:
    schema = schemas.reference(WebhookPayload)
    content = {
        "schema": schema,
        "examples": _examples({"WebhookPayload": schemas.example(schema)}),
    }
    return {
        "operationId": "request_completed",
        "summary": "What webhook_url is sent at a request's end",
        "description": _WEBHOOK,
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
            for name, text in webhooks.HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {JSON: content}},
        "responses": {
            "2XX": {"description": "received: it is not sent again"},
            "410": {"description": "never again: the tries end"},
            "default": {"description": _TRIES},
        },
    }
