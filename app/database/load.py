"""What there is and what is still to be done, counted for `GET /metrics`.

By indexes alone but for requests that run: 100,000 ended ones and 10,000 segments of one that runs
took 50 ms, 20,000 queued ones 75, 106,000 running ones one second. Whoever asks keeps the answer
for a while.
"""

from typing import Any

from pymongo.database import Database

from app.database.documents import Document
from app.database.errors import translating
from app.models import BatchStatus, Load

_ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED)
_DONE = ("completed", "failed", "cancelled")
_MOST_BEGUN = 5_000
"""The images of more than these all count as pending: ids are sent to the server and back."""


@translating
class Loads:
    def __init__(self, database: Database[Document]):
        self._requests = database["processing_requests"]
        self._segments = database["segments"]

    def read(self) -> Load:
        running = self._sum_running()
        requests = {
            "queued": running[False]["requests"],
            "processing": running[True]["requests"],
            **{status.value: self._count_requests(status.value) for status in _ENDED},
        }
        segments = {state: self._count_segments(state) for state in ("waiting", "claimed")}
        images = sum(one["images"] for one in running.values())
        done = self._sum_done(self._find_begun())
        return Load(requests, segments, max(0, images - done), self._count_webhooks())

    def _sum_running(self) -> dict[bool, Document]:
        """Requests and their images, by whether work has begun."""
        has_begun = {"$ne": [{"$ifNull": ["$started_at", None]}, None]}
        sums = {"requests": {"$sum": 1}, "images": {"$sum": "$total"}}
        stages: list[dict[str, Any]] = [
            {"$match": {"status": "processing"}},
            {"$group": {"_id": has_begun} | sums},
        ]
        found = {one.pop("_id"): one for one in self._requests.aggregate(stages)}
        return {each: found.get(each, dict.fromkeys(sums, 0)) for each in (False, True)}

    def _find_begun(self) -> list[str]:
        """Those of which something may be done: of a retried one, also before work begins."""
        begun = {"$or": [{"started_at": {"$ne": None}}, {"round": {"$gt": 0}}]}
        found = self._requests.find({"status": "processing"} | begun, {"request_id": 1})
        oldest = found.sort("created_at", 1).limit(_MOST_BEGUN)
        return [one["request_id"] for one in oldest]

    def _count_requests(self, status: str) -> int:
        return self._requests.count_documents({"status": status})

    def _count_segments(self, state: str) -> int:
        return self._segments.count_documents({"state": state})

    def _count_webhooks(self) -> int:
        """The second condition lets the server use the index of these alone."""
        due = {"webhook.state": "pending", "webhook.next_attempt_at": {"$type": "date"}}
        return self._requests.count_documents(due)

    def _sum_done(self, request_ids: list[str]) -> int:
        counts = {"$add": [f"$counts.{name}" for name in _DONE]}
        stages: list[dict[str, Any]] = [
            {"$match": {"request_id": {"$in": request_ids}}},
            {"$group": {"_id": None, "done": {"$sum": counts}}},
        ]
        return sum(found["done"] for found in self._segments.aggregate(stages))
