"""How a command ends: exit codes, and errors as a sentence on stderr (with --json on stdout too).

Called by both commands; never a traceback for what a person can act on.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import IntEnum
from typing import Any, NoReturn

import click

from app.errors import BadCatalog, BadRequest, PressroomError, TooLarge
from app.models import Fault

SHOWN_FAULTS = 20
_FIELD = re.compile(r"\b(image_column|base_url|on_error=)")
_OPTIONS = {
    "image_column": "--image-column",
    "base_url": "--source-base-url",
    "on_error=": "--on-error ",
}
"""What people type for the fields of an upload that messages advise; documents keep the API's."""


class ExitCode(IntEnum):
    DONE = 0
    UNFINISHED = 1
    REFUSED = 2
    SOME_FAILED = 3


class Unfinished(PressroomError):
    """The job has not come to its end; the message says how to go on."""


class RefusedUpload(BadRequest):
    """What a service answered to a bad file or option; `details` are its first faults."""

    def __init__(self, message: str, details: Sequence[Mapping[str, Any]], faults: int):
        super().__init__(message)
        self.details = details
        self.faults = faults


@contextmanager
def errors_told(*, as_json: bool, end: Callable[[int], NoReturn] = sys.exit) -> Iterator[None]:
    """Whatever is raised inside is told, and ends the process. SIGTERM counts as Ctrl-C."""
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (BadRequest, TooLarge) as error:
        _tell(str(error), _details(error), as_json)
        end(ExitCode.REFUSED)
    except PressroomError as error:
        _tell(str(error), {}, as_json)
        end(ExitCode.UNFINISHED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _tell(f"{place}{error.strerror or error}", {}, as_json)
        end(ExitCode.UNFINISHED)
    except KeyboardInterrupt:
        _tell("interrupted", {}, as_json)
        end(ExitCode.UNFINISHED)
    finally:
        signal.signal(signal.SIGTERM, earlier)


def end_at_once(code: int) -> NoReturn:
    """Without waiting for threads, such as those of fetches under way."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def show_faults(details: Sequence[Mapping[str, Any]], faults: int) -> None:
    """The first of them on stderr, a line each."""
    for fault in details[:SHOWN_FAULTS]:
        column = f", {fault['column']}" if fault["column"] else ""
        place = f"row {fault['row']}, line {fault['line']}{column}"
        click.echo(f"  {place}: {fault['code']} {_with_options(fault['message'])}", err=True)
    if faults > min(SHOWN_FAULTS, len(details)):
        click.echo(f"  … {faults:,} faults in all", err=True)


def documents_of(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """As the API's `details`."""
    return [asdict(fault) for fault in faults]


def show_json(document: Mapping[str, Any]) -> None:
    click.echo(json.dumps(document, ensure_ascii=False))


def _with_options(message: str) -> str:
    return _FIELD.sub(lambda field: _OPTIONS[field[1]], message)


def _details(error: PressroomError) -> dict[str, Any]:
    """As the API names them."""
    if isinstance(error, BadCatalog) and error.fault_count:
        return {"faults": error.fault_count, "details": documents_of(error.faults)}
    if isinstance(error, RefusedUpload) and error.faults:
        return {"faults": error.faults, "details": error.details}
    return {}


def _tell(message: str, details: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        show_json({"error": message, **details})
    click.echo(f"Error: {_with_options(message)}", err=True)
    if details:
        show_faults(details["details"], details["faults"])
