"""What callers do with an accepted request: retry, cancel, remove and list it; and its milestones.

Every change is one conditional update of the request's document, which is its commit: what follows
from it in other documents and in files is work that anybody may begin again and finish.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pymongo import DESCENDING, WriteConcern
from pymongo.database import Database

from app.database.documents import Document, batch_of, in_round, put_webhook
from app.database.errors import translating
from app.database.leases import claimant, lease
from app.models import Batch, BatchStatus, RetryScope, Webhook

_ENDED = ["completed", "failed", "cancelled"]
_VISIBLE = [*_ENDED, "processing"]
_EXPIRED_AT_ONCE = 10
"""Of requests too old, so that a sweep is soon done."""

Key = tuple[datetime, str]
"""What a page of the list ends with: created_at and request id."""


@translating
class Control:
    def __init__(self, database: Database[Document]):
        durable = WriteConcern("majority", j=True, wtimeout=30_000)
        self._requests = database.get_collection("processing_requests", write_concern=durable)

    # Retry and cancel

    def retry(self, batch: Batch, scope: RetryScope, *, done_before: int) -> bool:
        """An ended request runs again, in the next round; False when it is not as it was found.

        Its output, its webhook and the tidying to come belong to the round before, and go with it.
        """
        began = {
            "status": "processing",
            "round": batch.round + 1,
            "reopening": scope.value,
            "done_before": done_before,
        }
        gone = (
            *("started_at", "completed_at", "output_csv_path", "output_base_url", "error"),
            *("webhook", "told_percent", "counts", "clean_at"),
        )
        ended = {"request_id": batch.request_id, "status": {"$in": _ENDED}}
        again = {"$set": began | dict.fromkeys(gone)}
        return self._requests.update_one(ended | in_round(batch.round), again).matched_count == 1

    def end_reopening(self, batch: Batch) -> None:
        """Every segment has what the retry put back; from now on the request may end."""
        self._requests.update_one(
            {"request_id": batch.request_id, "status": "processing", "round": batch.round},
            {"$set": {"reopening": None}},
        )

    def cancel(self, request_id: str) -> bool:
        """A running request is to end soon; False when none runs.

        Whoever writes its output just now loses the finish, since that would say `completed`.
        """
        cancelled = {"cancelling": True, "lease_expires_at": None, "claimant": None}
        runs = {"request_id": request_id, "status": "processing"}
        update = {"$set": cancelled, "$inc": {"finish_token": 1}}
        if self._requests.update_one(runs | {"cancelling": {"$ne": True}}, update).matched_count:
            return True
        return self._requests.find_one(runs, {"_id": 1}) is not None

    def is_cancelling(self, request_id: str) -> bool:
        found = {"request_id": request_id, "cancelling": True}
        return self._requests.find_one(found, {"_id": 1}) is not None

    def find_cancelling(self) -> list[str]:
        found = self._requests.find({"status": "processing", "cancelling": True}, {"request_id": 1})
        return [document["request_id"] for document in found]

    # Removal

    def remove(self, request_id: str) -> bool:
        """Hides an ended request, frees its Idempotency-Key and drops its webhook.

        False when it runs, or is gone. `forget` ends it once its parts are gone; until then
        `claim_abandoned` gives it to whoever finds that its remover has died.
        """
        return self._remove({"request_id": request_id, "status": {"$in": _ENDED}})

    def remove_ended_before(self, time: datetime) -> Iterator[str]:
        """The same for requests that ended before then, the oldest first; the ids to remove."""
        expired = {"completed_at": {"$lt": time}, "status": {"$in": _ENDED}}
        found = self._requests.find(expired, {"request_id": 1, "completed_at": 1})
        for document in found.sort("completed_at", 1).limit(_EXPIRED_AT_ONCE):
            if self._remove(document | {"status": {"$in": _ENDED}}):  # unless it runs again
                yield document["request_id"]

    def _remove(self, query: Document) -> bool:
        removing = {
            "status": "removing",
            "lease_expires_at": lease(),
            "claimant": claimant(),
            "idempotency": None,
            "webhook": None,
        }
        return self._requests.update_one(query, [{"$set": removing}]).matched_count == 1

    def is_removed(self, request_id: str) -> bool:
        """Whether it is gone, or about to go."""
        kept = {"request_id": request_id, "status": {"$ne": "removing"}}
        return self._requests.find_one(kept, {"_id": 1}) is None

    # The list

    def page(
        self, owner: str, *, after: Key | None, limit: int, status: BatchStatus | None = None
    ) -> tuple[list[Batch], bool]:
        """An owner's requests older than `after`, the newest first, and whether more follow."""
        query: Document = {
            "owner": owner,
            "status": status.value if status else {"$in": _VISIBLE},
        }
        if after:
            created_at, request_id = after
            query["created_at"] = {"$lte": created_at}
            query["$or"] = [
                {"created_at": {"$lt": created_at}},
                {"request_id": {"$lt": request_id}},
            ]
        order = [("created_at", DESCENDING), ("request_id", DESCENDING)]
        found = list(self._requests.find(query).sort(order).limit(limit + 1))
        return [batch_of(document) for document in found[:limit]], len(found) > limit

    # Milestones

    def tell(self, batch: Batch, percent: int, webhook: Webhook) -> bool:
        """An event of a request that runs, in the place of the one before; each percent once.

        False when another has told of it or of a later one, and when the request has ended.
        """
        told: list[dict[str, Any]] = [
            {"$set": {"told_percent": percent, "webhook": put_webhook(webhook)}}
        ]
        untold = {
            "request_id": batch.request_id,
            "status": "processing",
            "told_percent": {"$not": {"$gte": percent}},
        }
        return self._requests.update_one(untold | in_round(batch.round), told).matched_count == 1
