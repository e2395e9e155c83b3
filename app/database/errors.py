"""Turns PyMongo's exceptions into the application's, at the edge of this package."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pymongo.errors import ConnectionFailure, ExecutionTimeout, OperationFailure, WTimeoutError

from app.errors import DatabaseUnavailable

_OUT_OF_DISK_SPACE = 14031
_CURSOR_NOT_FOUND = 43  # the server was restarted between two batches
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout, WTimeoutError) as error:
        raise DatabaseUnavailable("the database does not answer; try again shortly") from error
    except OperationFailure as error:
        if error.code == _OUT_OF_DISK_SPACE:
            raise DatabaseUnavailable("the database's disk is full") from error
        if error.code == _CURSOR_NOT_FOUND:
            raise DatabaseUnavailable("the database was restarted; try again") from error
        raise


def translate_connection_errors(function: _Decorated) -> _Decorated:
    """Makes a function or generator raise DatabaseUnavailable for a database that is away."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _translated():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _translated():
            yield from function(*args, **kwargs)

    return iterate if inspect.isgeneratorfunction(function) else call  # type: ignore[return-value]


_Class = TypeVar("_Class", bound=type)


def translating(cls: _Class) -> _Class:
    """Class decorator: the same for every public method."""
    for name, member in list(vars(cls).items()):
        if inspect.isfunction(member) and not name.startswith("_"):
            setattr(cls, name, translate_connection_errors(member))
    return cls
