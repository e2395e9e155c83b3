"""Holds what the service answers against `/openapi.json`, more strictly than its readers do:
a field that is not described is a fault too."""

import functools
import json

import jsonschema_rs
from werkzeug.exceptions import HTTPException

from app import create_app
from app.api.openapi import document_of
from app.config import Settings

BEFORE_ANY_VIEW = {400, 401, 403, 404, 405, 413, 500}
"""May be answered where no route was found, or before it was looked for."""


@functools.cache
def document():
    """Of a service with the default settings."""
    settings = Settings(_env_file=None)
    return document_of(create_app(settings), settings)


def assert_described(app, reply):
    """`reply`: one of Flask's test client."""
    request = reply.request
    path = path_of(app, request)
    if path is None:
        assert reply.status_code in BEFORE_ANY_VIEW
        return
    method = "get" if request.method == "HEAD" else request.method.lower()
    operation = document()["paths"].get(path, {}).get(method)
    if operation is None:  # OPTIONS, and what is @undescribed: tests/test_openapi.py
        return
    status = str(reply.status_code)
    where = f"{request.method} {request.path} answers {status}"
    assert status in operation["responses"], where
    described = operation["responses"][status]
    for name, header in described.get("headers", {}).items():
        assert name in reply.headers or not header["required"], f"{where} without {name}"
    _assert_body(described.get("content", {}), request.method, reply, where)


def path_of(app, request):
    """As the document has it; None for one that leads nowhere."""
    adapter = app.url_map.bind("localhost")
    try:
        rule, _ = adapter.match(request.path, request.method, return_rule=True)
    except HTTPException:
        return None
    return rule.rule.replace("<", "{").replace(">", "}")


def _assert_body(content, method, reply, where):
    if not content or method == "HEAD":
        assert not reply.data, where
        return
    assert reply.mimetype in content, f"{where} as {reply.mimetype}"
    schema = content[reply.mimetype].get("schema")
    if schema:
        assert_fits(reply.json, schema, where)


def assert_fits(value, schema, where):
    faults = [error.message for error in validator(json.dumps(schema)).iter_errors(value)]
    assert not faults, f"{where}: {faults}"


@functools.cache
def validator(schema):
    components = _strict(document()["components"])
    return jsonschema_rs.Draft202012Validator(
        {**_strict(json.loads(schema)), "components": components}, validate_formats=True
    )


def _strict(schema):
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return closed | {name: _strict(value) for name, value in schema.items()}
