"""How often somebody has called lately; one counter for all processes, by the server's clock."""

from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.database.documents import Document
from app.database.errors import translating
from app.models import RateLimit

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@translating
class Rates:
    """Not journaled: what a crash forgets are a few calls of the last instant."""

    def __init__(self, database: Database[Document]):
        self._rates = database["rates"]

    def count(self, caller: str, limit: RateLimit) -> float:
        """Counts one call; the seconds until the next is allowed when this one is not, else 0.

        A period begins with the first call after the last one ended.
        """
        try:
            found = self._count(caller, limit)
        except DuplicateKeyError:  # two first calls at once
            found = self._count(caller, limit)
        left_seconds: float = found["left_milliseconds"] / 1000
        return left_seconds if found["calls"] > limit.calls else 0.0

    def _count(self, caller: str, limit: RateLimit) -> Document:
        is_over = {"$lte": [{"$ifNull": ["$ends_at", _LONG_AGO]}, "$$NOW"]}
        end = {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": limit.period_seconds}}
        counted: dict[str, Any] = {
            "calls": {"$cond": [is_over, 1, {"$add": ["$calls", 1]}]},
            "ends_at": {"$cond": [is_over, end, "$ends_at"]},
        }
        found = self._rates.find_one_and_update(
            {"_id": caller},
            [
                {"$set": counted},
                {"$set": {"left_milliseconds": {"$subtract": ["$ends_at", "$$NOW"]}}},
            ],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert found  # upserted
        return found
