"""Form fields and query parameters → a model; what does not fit → BadRequest that names it.

Every view calls this first: what a route does not know is refused, never ignored.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import BadRequest

_SHOWN_CHARACTERS = 100

Flag = Annotated[Literal["true", "false"], Field(description="true or false")]


class Fields(BaseModel):
    """The base of what a route takes.

    The description of a field says what is allowed, and ends the message when something else was
    sent. Only fields that `may_repeat` hold a list.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    may_repeat: ClassVar[frozenset[str]] = frozenset()


class NoParameters(Fields):
    """Of routes that take none."""


Model = TypeVar("Model", bound=Fields)


def read_query(model: type[Model]) -> Model:
    """The query parameters of the present request. Raises BadRequest."""
    return read_fields(model, request.args.to_dict(flat=False), "query parameter")


def read_fields(model: type[Model], sent: Mapping[str, list[str]], kind: str) -> Model:
    """Values as sent, an empty one being as good as none. Raises BadRequest."""
    refuse_unknown(sent, model.model_fields, kind)
    given = {name: [value for value in values if value.strip()] for name, values in sent.items()}
    _refuse_repeats(model, given, kind)
    values = {
        name: values if name in model.may_repeat else values[0]
        for name, values in given.items()
        if values
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # a field that may be of several types has a fault for each, and all say the same here
        faults = dict.fromkeys(_fault(model, detail) for detail in error.errors())
        raise BadRequest("; ".join(faults)) from error


def refuse_unknown(sent: Iterable[str], known: Collection[str], kind: str) -> None:
    """Raises BadRequest for a name that is not known, with all that are."""
    unknown = [name for name in sent if name not in known]
    if unknown:
        name = unknown[0] or ""  # a part of a form may have none
        allowed = f"allowed are {', '.join(known)}" if known else "none is allowed here"
        raise BadRequest(f"unknown {kind} {shown(name)}: {allowed}")


def shown(text: str) -> str:
    """Quoted for a message, and cut when long."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


def _refuse_repeats(model: type[Fields], given: Mapping[str, list[str]], kind: str) -> None:
    for name, values in given.items():
        if len(values) > 1 and name not in model.may_repeat:
            raise BadRequest(f"the {kind} {name} was sent {len(values)} times: send it once")


def _fault(model: type[Fields], detail: Any) -> str:
    name = str(detail["loc"][0])
    return f"{name}: {shown(str(detail['input']))} is not {model.model_fields[name].description}"
