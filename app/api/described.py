"""What a view says of itself, for `/openapi.json`. Nothing of it is looked at while it answers.

The views are decorated with it, below `blueprint.get(…)`; `openapi` puts the document together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.api.parsing import Fields, NoParameters
from app.config import Settings

JSON = "application/json"
AWAY = {503: "the database cannot be reached; try again shortly"}
"""Of every view that asks the database."""
NOT_FOUND = {404: "Request ID not found"}
"""Of every view whose path has an id: `batches.find_batch` says it."""
CURSOR = "Of the page: what next of the page before holds"

_View = TypeVar("_View", bound=Callable[..., Any])
Schema = dict[str, Any]


def _nothing(_settings: Settings) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer when all is well. `bodies`: what it may be, of the types in `replies`; none when it
    is no JSON. `headers`: what each is for. No `media_types`: there is no body.
    """

    text: str
    bodies: tuple[Any, ...] = ()
    media_types: tuple[str, ...] = (JSON,)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request's body: a model of the form's fields, or the type of the JSON in it.

    `file` says what the field `file` holds, where there is one; it may name settings, as
    `{settings.max_csv_rows}`. `defaults`: of those fields whose default the operator chooses.
    `examples`: whole bodies by name, where one cannot be put together from the fields' own.
    `required`: fields of a form beside its file.
    """

    body: Any
    media_types: tuple[str, ...]
    file: str | None = None
    file_types: tuple[str, ...] = ()
    defaults: Callable[[Settings], Mapping[str, Any]] = _nothing
    examples: Callable[[Settings], Mapping[str, Any]] = _nothing
    required: tuple[str, ...] = ()
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """`errors`: by status the sentence of an example, which may name settings, or its whole body;
    what every route may answer need not be named. `headers` and `path` (but `request_id`) are
    parameters by name, as OpenAPI has them.
    """

    tag: str
    summary: str
    replies: Mapping[int, Reply]
    errors: Mapping[int, str | Schema]
    details: str
    query: type[Fields]
    headers: Mapping[str, Schema]
    path: Mapping[str, Schema]
    sent: Sent | None


def describe(
    tag: str,
    summary: str,
    *,
    replies: Mapping[int, Reply],
    errors: Mapping[int, str | Schema] | None = None,
    details: str = "",
    query: type[Fields] = NoParameters,
    headers: Mapping[str, Schema] | None = None,
    path: Mapping[str, Schema] | None = None,
    sent: Sent | None = None,
) -> Callable[[_View], _View]:
    """See `Description`; `details` may be Markdown."""
    description = Description(
        tag, summary, replies, errors or {}, details, query, headers or {}, path or {}, sent
    )

    def mark(view: _View) -> _View:
        view.description = description  # type: ignore[attr-defined]
        return view

    return mark


def undescribed(reason: str) -> Callable[[_View], _View]:
    """Marks a view that callers of the API have no business with, and says why."""

    def mark(view: _View) -> _View:
        view.undescribed = reason  # type: ignore[attr-defined]
        return view

    return mark


def description_of(view: Callable[..., Any]) -> Description | None:
    """None for one that is marked as `undescribed`. Raises LookupError for one that is neither."""
    if hasattr(view, "undescribed"):
        return None
    description: Description | None = getattr(view, "description", None)
    if description is None:
        raise LookupError(f"{view.__module__}.{view.__name__} needs @describe or @undescribed")
    return description
