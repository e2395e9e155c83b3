"""What `POST /webhook` received: once per id, the newest kept."""

from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import DESCENDING, WriteConcern
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.database.documents import Document
from app.database.errors import translating


@translating
class Events:
    def __init__(self, database: Database[Document], keep: int = 10_000):
        durable = WriteConcern("majority", j=True, wtimeout=30_000)
        self._events = database.get_collection("webhook_events", write_concern=durable)
        self._keep = keep

    def save(
        self, webhook_id: str, received_at: datetime, payload: str, owner: str | None = None
    ) -> bool:
        """False when this id was received before; then nothing changes.

        `owner` is whose request it tells of; None for one that is not of this service.
        `payload` is JSON text: as a document, names such as `$ref` would mean something to BSON.
        """
        try:
            self._events.insert_one(
                {
                    "webhook_id": webhook_id,
                    "received_at": received_at,
                    "payload": payload,
                    "owner": owner,
                }
            )
        except DuplicateKeyError:
            return False
        self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        surplus = self._events.estimated_document_count() - self._keep
        if surplus > 0:
            oldest = self._events.find({}, {"_id": 1}).sort("_id", 1).limit(surplus)
            self._events.delete_many({"_id": {"$in": [event["_id"] for event in oldest]}})

    def page(
        self, owner: str, *, before: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Events from the newest on, and the cursor of the next page; none of other owners."""
        older = {"_id": {"$lt": ObjectId(before)}} if before else {}
        shown = {"owner": {"$in": [owner, None]}} | older
        found = list(self._events.find(shown).sort("_id", DESCENDING).limit(limit + 1))
        events = [
            {
                "id": event["webhook_id"],
                "received_at": event["received_at"],
                "payload": event["payload"],
            }
            for event in found[:limit]
        ]
        return events, str(found[limit - 1]["_id"]) if len(found) > limit else None
