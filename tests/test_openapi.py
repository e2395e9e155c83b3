"""/openapi.json says what the service takes and answers: all of it, and nothing else.

`tests/conftest.py` holds every reply that any test gets against it, too.
"""

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import SecretStr

from app.api.described import description_of
from app.models import BatchStatus, ErrorCode, FaultCode, ImageStatus, OutputFormat
from tests.described import assert_fits, document

CONTRACT = {
    "POST /upload",
    "GET /status/{request_id}",
    "GET /download/{request_id}",
    "GET /download/{request_id}/images.zip",
    "GET /processed/{request_id}/{name}",
    "GET /samples/{name}",
    "POST /retry/{request_id}",
    "POST /cancel/{request_id}",
    "POST /redeliver/{request_id}",
    "DELETE /requests/{request_id}",
    "GET /requests",
    "POST /webhook",
    "GET /webhook",
    "POST /session",
    "DELETE /session",
    "GET /docs",
    "GET /openapi.json",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /",
}


def operations():
    return {
        f"{method.upper()} {path}": operation
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }


def contents():
    """Every described body: where it stands, its schema and its examples."""
    for name, operation in operations().items():
        sent = operation.get("requestBody", {}).get("content", {})
        yield from ((f"{name} sent", content) for content in sent.values())
        for status, reply in operation["responses"].items():
            for content in reply.get("content", {}).values():
                yield f"{name} {status}", content
    (webhook,) = document()["webhooks"]["request.completed"].values()
    yield "webhook", webhook["requestBody"]["content"]["application/json"]


def test_every_route_is_described_and_nothing_else(client):
    app = client.application
    there = {
        f"{method} {rule.rule.replace('<', '{').replace('>', '}')}"
        for rule in app.url_map.iter_rules()
        if description_of(app.view_functions[rule.endpoint])
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert set(operations()) == there
    assert there >= CONTRACT


def test_a_route_that_says_nothing_of_itself_is_named(client):
    def forgotten():
        pass

    with pytest.raises(LookupError, match="forgotten needs @describe or @undescribed"):
        description_of(forgotten)


def test_every_operation_has_a_summary_examples_and_its_errors():
    for name, operation in operations().items():
        assert operation["summary"], name
        assert operation["tags"], name
        assert {"400", "403", "500"} <= set(operation["responses"]), name
        for status, reply in operation["responses"].items():
            if status >= "400":
                assert "application/json" in reply["content"], (name, status)
        for parameter in operation["parameters"]:
            assert parameter["description"], (name, parameter["name"])


def test_every_example_fits_its_schema():
    found = 0
    for where, content in contents():
        for example in content.get("examples", {}).values():
            assert_fits(example["value"], content["schema"], where)
            found += 1
    assert found > 80


def test_the_words_are_those_of_the_enums():
    schemas = document()["components"]["schemas"]

    for enum in (BatchStatus, ImageStatus, OutputFormat, FaultCode, ErrorCode):
        assert schemas[enum.__name__]["enum"] == list(enum)


def test_defaults_and_limits_are_those_of_the_settings(client_of, settings, services):
    changed = {"image_quality": 77, "output_format": OutputFormat.AVIF, "max_csv_rows": 4_321}
    client = client_of(settings.model_copy(update=changed), services)

    operation = client.get("/openapi.json").json["paths"]["/upload"]["post"]

    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = schema["properties"]
    assert (fields["quality"]["default"], fields["format"]["default"]) == (77, "avif")
    assert (fields["quality"]["minimum"], fields["quality"]["maximum"]) == (1, 95)
    assert "4,321 rows" in fields["file"]["description"]


def test_the_document_is_openapi_3_1_by_its_own_schema():
    OpenAPIV31SpecValidator(document()).validate()


def test_what_needs_a_key_says_so(client_of, settings, services):
    keyed = settings.model_copy(update={"api_keys": SecretStr("ann:ann-1")})
    client = client_of(keyed, services)
    headers = {"Authorization": "Bearer ann-1"}
    shown = client.get("/openapi.json", headers=headers).json

    assert shown["security"] == [{"key": []}, {"session": []}]
    for path, item in shown["paths"].items():
        for method, operation in item.items():
            url = path.replace("{request_id}", "x").replace("{name}", "x")
            reply = client.open(url, method=method.upper())
            is_closed = "WWW-Authenticate" in reply.headers and path != "/session"
            assert is_closed == (operation.get("security") is None), (method, path)


def test_a_webhook_is_sent_as_described(upload, origin, jpeg):
    origin.serve("/a.jpg", jpeg)
    origin.serve("/hook", b"")

    upload(f"Images\n{origin.url('/a.jpg')}\n", webhook_url=origin.url("/hook"))

    origin.wait_until(lambda: origin.count("/hook"))
    sent = next(request for request in origin.requests if request.path == "/hook")
    (webhook,) = document()["webhooks"]["request.completed"].values()
    body = webhook["requestBody"]["content"]["application/json"]
    assert_fits(json.loads(sent.body), body["schema"], "webhook")


def test_what_is_said_of_errors_is_what_is_answered(client, upload, unfinished):
    never = "00000000-0000-4000-8000-000000000000"
    calls = {
        ("get", "/status/{request_id}", 404): client.get(f"/status/{never}"),
        ("get", "/download/{request_id}", 404): client.get(f"/download/{never}"),
        ("post", "/retry/{request_id}", 409): client.post(f"/retry/{unfinished}"),
        ("post", "/redeliver/{request_id}", 409): client.post(f"/redeliver/{unfinished}"),
        ("delete", "/requests/{request_id}", 409): client.delete(f"/requests/{unfinished}"),
        ("get", "/processed/{request_id}/{name}", 404): client.get(f"/processed/{never}/a.jpg"),
        ("get", "/samples/{name}", 404): client.get("/samples/cat.jpg"),
        ("get", "/status/{request_id}", 400): client.get(f"/status/{unfinished}?cursor=x"),
        ("get", "/requests", 400): client.get("/requests?cursor=x"),
        ("get", "/webhook", 400): client.get("/webhook?cursor=1"),
        ("post", "/webhook", 400): client.post("/webhook", json={}),
        ("get", "/healthz", 400): client.get("/healthz?colour=red"),
        ("post", "/upload", 400): upload("SKU,Images\n1,\n2,\n3,\n4,ftp://shop.example/a.jpg\n"),
    }

    for (method, path, status), reply in calls.items():
        assert reply.status_code == status
        content = document()["paths"][path][method]["responses"][str(status)]["content"]
        assert reply.json == content["application/json"]["examples"]["Error"]["value"]
