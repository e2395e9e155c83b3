"""What there is and what is still to be done, counted for `GET /metrics`.

By indexes alone but for requests that run: 100,000 ended ones and 10,000 segments of one that runs
took 50 ms. Whoever asks keeps the answer for a while.
"""

from typing import Any

from pymongo.database import Database

from app.database.documents import Document
from app.database.errors import translating
from app.models import BatchStatus, Load

_ENDED = (BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED)
_DONE = ("completed", "failed", "cancelled")


@translating
class Loads:
    def __init__(self, database: Database[Document]):
        self._requests = database["processing_requests"]
        self._segments = database["segments"]

    def read(self) -> Load:
        running = list(
            self._requests.find(
                {"status": "processing"}, {"_id": 0, "request_id": 1, "total": 1, "started_at": 1}
            )
        )
        queued = sum(one.get("started_at") is None for one in running)
        requests = {
            "queued": queued,
            "processing": len(running) - queued,
            **{status.value: self._count_requests(status.value) for status in _ENDED},
        }
        segments = {state: self._count_segments(state) for state in ("waiting", "claimed")}
        total = sum(one["total"] for one in running)
        done = self._sum_done([one["request_id"] for one in running])
        return Load(requests, segments, max(0, total - done), self._count_webhooks())

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
