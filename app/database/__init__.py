"""Everything that is known of requests, in MongoDB: documents, indexes and every state change.

Nothing outside this package knows how a document looks. Times are the server's own (`$$NOW`), so
that machines whose clocks differ agree on which lease has run out.
"""

from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient, timeout

from app.database.batches import Batches
from app.database.errors import translate_connection_errors
from app.database.events import Events
from app.database.products import Products
from app.database.results import Results
from app.database.schema import prepare
from app.database.segments import Segments

__all__ = ["Database", "connect"]


@dataclass(frozen=True)
class Database:
    """The collections, each with the state changes that belong to it."""

    client: MongoClient[dict[str, Any]]
    name: str
    batches: Batches
    products: Products
    segments: Segments
    results: Results
    events: Events

    @translate_connection_errors
    def ping(self, timeout_seconds: float) -> None:
        """Raises DatabaseUnavailable when the server does not answer in time."""
        with timeout(timeout_seconds):
            self.client.admin.command("ping")

    def close(self) -> None:
        self.client.close()


@translate_connection_errors
def connect(uri: str, name: str) -> Database:
    """The database, its indexes and view made. Raises DatabaseUnavailable.

    Make it after the fork, never before: a MongoClient does not survive one.
    """
    client: MongoClient[dict[str, Any]] = MongoClient(
        uri,
        tz_aware=True,
        appname="pressroom",
        serverSelectionTimeoutMS=3_000,
        socketTimeoutMS=60_000,
        retryWrites=False,  # a plain server knows none; whoever lost a connection does it again
    )
    database = client[name]
    prepare(database)
    return Database(
        client,
        name,
        Batches(database),
        Products(database),
        Segments(database),
        Results(database),
        Events(database),
    )
