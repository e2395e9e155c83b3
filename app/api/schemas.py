"""Types → JSON schemas, and examples that fit them. Called by `openapi`.

The types are the models that parse what is sent (`parsing.Fields`) and those of what is answered
(`replies`).
"""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from app.api.described import Schema
from app.api.parsing import Fields

_REF = "#/components/schemas/{model}"
_PLAIN = {"integer": 0, "number": 0, "boolean": True, "string": ""}


class Schemas:
    """`components` are those that are referred to by name: all but the models of what is sent."""

    def __init__(self, types: Iterable[Any]):
        distinct = list(dict.fromkeys(types))
        adapters = [(t.__name__, "validation", TypeAdapter(t)) for t in distinct]
        _, made = TypeAdapter.json_schemas(adapters, ref_template=_REF)  # type: ignore[arg-type]
        self._all = {name: _untitled(schema) for name, schema in made["$defs"].items()}
        sent = {t.__name__ for t in distinct if is_sent(t)}
        self.components = {name: s for name, s in self._all.items() if name not in sent}

    def reference(self, body: Any) -> Schema:
        return {"$ref": _REF.format(model=body.__name__)}

    def fields(self, model: type[Fields]) -> dict[str, Schema]:
        """What each field may be, and what it is for: its title, and what the parser would say."""
        properties = self._all[model.__name__].get("properties", {})
        return {
            name: _without_null(schema) | _said(model.model_fields[name].title, schema)
            for name, schema in properties.items()
        }

    def example(self, schema: Schema) -> Any:
        """Put together from the examples within; of what need not be there only what has one."""
        if "examples" in schema:
            return schema["examples"][0]
        if "$ref" in schema:
            return self.example(self._all[schema["$ref"].rpartition("/")[2]])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if "anyOf" in schema:
            return self.example(schema["anyOf"][0])
        if schema.get("type") == "array":
            return [self.example(schema["items"])]
        if "properties" in schema:
            required = schema.get("required", ())
            return {
                name: self.example(each)
                for name, each in schema["properties"].items()
                if name in required or "examples" in each
            }
        return _PLAIN[schema["type"]]


def is_sent(body: Any) -> bool:
    """Whether its values come as texts, in a form or a query."""
    return isinstance(body, type) and issubclass(body, Fields)


def _untitled(schema: Any) -> Any:
    """pydantic makes titles of names."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _untitled(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str))
    }


def _without_null(schema: Schema) -> Schema:
    """What a text can say: nothing is said by leaving it out."""
    kept = {name: value for name, value in schema.items() if value is not None}
    choices = [each for each in kept.pop("anyOf", ()) if each != {"type": "null"}]
    if len(choices) == 1:
        kept.update(choices[0])
    elif choices:
        kept["anyOf"] = choices
    return kept


def _said(title: str | None, schema: Schema) -> Schema:
    words = [each for each in (title, schema.get("description")) if each]
    return {"description": ": ".join(words)} if words else {}
