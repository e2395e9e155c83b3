"""Everything that is known of requests, in MongoDB: documents, indexes and every state change.

Nothing outside this package knows how a document looks. Times are the server's own (`$$NOW`), so
that machines whose clocks differ agree on which lease has run out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient, timeout
from pymongo.errors import ConfigurationError, OperationFailure

from app.database.batches import Batches
from app.database.control import Control
from app.database.errors import translate_connection_errors
from app.database.events import Events
from app.database.load import Loads
from app.database.products import Products
from app.database.rates import Rates
from app.database.results import Results
from app.database.schema import prepare
from app.database.segments import Segments
from app.errors import SettingsError

__all__ = ["Database", "connect", "deadline"]

_NO_RIGHTS = {13, 18}  # Unauthorized, AuthenticationFailed


@dataclass(frozen=True)
class Database:
    """The collections, each with the state changes that belong to it."""

    client: MongoClient[dict[str, Any]]
    name: str
    batches: Batches
    control: Control
    products: Products
    segments: Segments
    results: Results
    events: Events
    rates: Rates
    loads: Loads

    @translate_connection_errors
    def ping(self, timeout_seconds: float) -> None:
        """Raises DatabaseUnavailable when the server does not answer in time."""
        with deadline(timeout_seconds):
            self.client.admin.command("ping")

    @translate_connection_errors
    def drop(self) -> None:
        """Removes all of it; only for one that was made for one job. Raises SettingsError."""
        try:
            self.client.drop_database(self.name)
        except OperationFailure as error:
            if error.code not in _NO_RIGHTS:
                raise
            raise SettingsError("MONGODB_URI: the login may drop no database") from error

    def close(self) -> None:
        self.client.close()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Whatever is asked of the database inside has that long altogether; a decorator as well.

    Not for reading through a whole request: the server counts the time that one cursor takes.
    """
    with timeout(seconds):
        yield


@translate_connection_errors
def connect(uri: str, name: str) -> Database:
    """The database, its indexes and view made. Raises DatabaseUnavailable, SettingsError.

    Make it after the fork, never before: a MongoClient does not survive one.
    """
    client = _client(uri)
    database = client[name]
    try:
        prepare(database)
    except BaseException as error:
        client.close()
        if isinstance(error, OperationFailure) and error.code in _NO_RIGHTS:
            raise SettingsError("MONGODB_URI: the login fails, or may not do enough") from error
        raise
    return Database(
        client,
        name,
        Batches(database),
        Control(database),
        Products(database),
        Segments(database),
        Results(database),
        Events(database),
        Rates(database),
        Loads(database),
    )


def _client(uri: str) -> MongoClient[dict[str, Any]]:
    try:
        return MongoClient(
            uri,
            tz_aware=True,
            appname="pressroom",
            serverSelectionTimeoutMS=3_000,
            socketTimeoutMS=60_000,
            retryWrites=False,  # a plain server knows none; whoever lost a connection does it again
        )
    except (ConfigurationError, ValueError) as error:  # whose words may repeat the password
        raise SettingsError(
            "MONGODB_URI cannot be read: write mongodb://user:password@host:27017, with what is "
            "not a letter or digit in the first two percent-encoded"
        ) from error
