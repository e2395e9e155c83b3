"""python -m tools.postman: `/openapi.json` → the collection and the environment in docs/postman.

`make postman` runs it. What a request holds comes from the document; what is done here is to put
the requests into an order in which they can be run from first to last, and to hand values on.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import create_app
from app.api.openapi import document_of
from app.config import PROJECT_DIR, Settings

FOLDER = PROJECT_DIR / "docs" / "postman"
COLLECTION = "pressroom.postman_collection.json"
ENVIRONMENT = "pressroom.postman_environment.json"
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_ABOUT = """\
Choose the environment, and send the requests from the first to the last, or run the collection.
The first uploads `samples/catalog.csv` and keeps the answer's `request_id` in the environment,
where the others find it. If Postman cannot find the file, choose it at the field `file`.
"""
_KEEP_ID = """\
pm.environment.set("request_id", pm.response.json().request_id);"""
_POLL = """\
const status = pm.response.json();
if (status.status === "processing") {
  setTimeout(() => {}, 250);
  pm.execution.setNextRequest(pm.info.requestId);
}
for (const image of Object.values(status.images)) {
  if (image.path) pm.environment.set("image", image.path.split("/").pop());
}"""


@dataclass(frozen=True)
class Step:
    """One request: the operation's, with these fields and parameters switched on.

    `statuses`: what it may answer, where it is not the operation's own success. `then` is a script
    that follows the tests.
    """

    operation_id: str
    given: dict[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = ()
    then: str = ""
    name: str = ""


FLOW: dict[str, list[Step]] = {
    "From upload to download": [
        Step("upload", {"webhook_url": "{{base_url}}/webhook"}, (202,), _KEEP_ID),
        Step("show_status", then=_POLL),
        Step("download", statuses=(200,)),
        Step("download", {"urls": "replace"}, (200,), name="The input with its URLs exchanged"),
        Step("download_images"),
        Step("show_image", statuses=(200,)),
    ],
    "Afterwards": [
        Step("list_requests"),
        Step("redeliver"),
        Step("retry"),
        Step("show_savings"),
        Step("show_status", {"images": "failed"}, then=_POLL, name="Until it has ended again"),
        Step("cancel", statuses=(202, 409)),
        Step("delete_request"),
    ],
    "Webhooks": [Step("receive_webhook"), Step("show_events")],
    "Session": [Step("begin_session", {"key": "{{api_key}}"}), Step("end_session")],
    "The service": [
        Step("show_health"),
        Step("show_readiness", statuses=(200,)),
        Step("show_metrics"),
        Step("show_page"),
        Step("show_sample", statuses=(200,)),
        Step("show_document"),
        Step("show_docs"),
    ],
}
_VALUES = {
    "base_url": "http://127.0.0.1:8000",
    "api_key": "",
    "catalog": "samples/catalog.csv",
    "request_id": "",
    "image": "",
}
_PATHS = {
    ("show_image", "name"): "{{image}}",
    ("show_sample", "name"): "catalog.csv",
}


def make() -> dict[str, str]:
    """The text of each file by its name."""
    document = _document()
    operations = {
        operation["operationId"]: (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    collection = {
        "info": {"name": "Pressroom", "description": _ABOUT, "schema": _SCHEMA},
        "auth": {"type": "bearer", "bearer": [_pair("token", "{{api_key}}", type="string")]},
        "item": [
            {
                "name": name,
                "item": [_item(step, *operations[step.operation_id], document) for step in steps],
            }
            for name, steps in FLOW.items()
        ],
    }
    environment = {
        "name": "Pressroom on this machine",
        "values": [_pair(key, value, enabled=True) for key, value in _VALUES.items()],
    }
    return {COLLECTION: _text(collection), ENVIRONMENT: _text(environment)}


def _document() -> dict[str, Any]:
    """Of a service with the default settings, whatever the environment says."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    settings = Settings(_env_file=None)
    document: dict[str, Any] = json.loads(json.dumps(document_of(create_app(settings), settings)))
    return document


def _item(
    step: Step, method: str, path: str, operation: dict[str, Any], document: dict[str, Any]
) -> dict[str, Any]:
    request = {
        "method": method.upper(),
        "description": operation.get("description", ""),
        "header": [
            _pair(each["name"], str(each.get("example", "")), each["description"], disabled=True)
            for each in operation["parameters"]
            if each["in"] == "header"
        ],
        "url": _url(step, path, operation["parameters"]),
    }
    body = _body(step, operation.get("requestBody", {}).get("content", {}))
    return {
        "name": step.name or operation["summary"],
        "request": request | ({"body": body} if body else {}),
        "event": [_script(step, operation, document)],
    }


def _url(step: Step, path: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    for name in ("request_id", "name"):
        value = _PATHS.get((step.operation_id, name), "{{request_id}}")
        path = path.replace(f"{{{name}}}", value)
    query = [
        _pair(
            each["name"],
            step.given.get(each["name"], str(each["schema"].get("default", ""))),
            each["description"],
            disabled=each["name"] not in step.given,
        )
        for each in parameters
        if each["in"] == "query"
    ]
    given = "&".join(f"{pair['key']}={pair['value']}" for pair in query if not pair["disabled"])
    raw = "{{base_url}}" + path + (f"?{given}" if given else "")
    url = {"raw": raw, "host": ["{{base_url}}"], "path": path.strip("/").split("/")}
    return url | ({"query": query} if query else {})


def _body(step: Step, content: dict[str, Any]) -> dict[str, Any] | None:
    if "application/json" in content:
        (example,) = content["application/json"]["examples"].values()
        options = {"raw": {"language": "json"}}
        return {"mode": "raw", "raw": json.dumps(example["value"]), "options": options}
    for media_type, mode in (
        ("application/x-www-form-urlencoded", "urlencoded"),
        ("multipart/form-data", "formdata"),
    ):
        if media_type in content:
            fields = content[media_type]["schema"]["properties"]
            return {"mode": mode, mode: list(_fields(step, fields))}
    return None


def _fields(step: Step, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, schema in fields.items():
        said = schema["description"]
        if schema.get("format") == "binary":
            yield {"key": name, "type": "file", "src": "{{catalog}}", "description": said}
            continue
        default = schema.get("default", "")
        value = step.given.get(name, "" if default == [] else str(default))
        yield _pair(name, value, said, type="text", disabled=name not in step.given)


def _script(step: Step, operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    replies = operation["responses"]
    statuses = step.statuses or tuple(int(each) for each in replies if each < "300")
    lines = [
        f'pm.test("answers {" or ".join(map(str, statuses))}", () => {{',
        f"  pm.expect(pm.response.code).to.be.oneOf({json.dumps(statuses)});",
        "});",
    ]
    fields = _required(replies[str(statuses[0])], document)
    if fields and len(statuses) == 1:
        lines += [
            'pm.test("has what is described", () => {',
            f"  pm.expect(pm.response.json()).to.include.all.keys({json.dumps(fields)});",
            "});",
        ]
    script = {"type": "text/javascript", "exec": [*lines, *step.then.splitlines()]}
    return {"listen": "test", "script": script}


def _required(reply: dict[str, Any], document: dict[str, Any]) -> list[str]:
    """The fields that a JSON answer always has; none where several bodies are possible."""
    schema = reply.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    fields: list[str] = document["components"]["schemas"].get(name, {}).get("required", [])
    return fields


def _pair(key: str, value: str, description: str = "", **more: Any) -> dict[str, Any]:
    said = {"description": description} if description else {}
    return {"key": key, "value": value, **said, **more}


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in make().items():
        (FOLDER / name).write_text(text)
        sys.stdout.write(f"{Path('docs', 'postman', name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
