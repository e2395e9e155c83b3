"""Requests: one document each, from the first byte received to the webhook delivered.

A request is `receiving` while its rows come in and `removing` while its parts go; both are hidden
from every reader. One conditional update turns `receiving` into `processing`: that is the moment
from which nothing may be lost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import ReturnDocument, WriteConcern
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from app.database.documents import (
    Document,
    batch_of,
    document_of_batch,
    idempotency_of,
    in_round,
    put_webhook,
    webhook_of,
)
from app.database.errors import translating
from app.database.leases import IS_EXPIRED, ORPHAN_SECONDS, claimant, is_dead, lease
from app.errors import KeyTaken, LostClaim
from app.models import Batch, BatchStatus, Counts, IdempotencyKey, Webhook

_HIDDEN = ["receiving", "removing"]
_VISIBLE = {"$nin": _HIDDEN}
WEBHOOK_LEASE_SECONDS = 60
"""Longer than one try may take; a worker that dies during it is followed by another after that."""


@translating
class Batches:
    def __init__(self, database: Database[Document]):
        durable = WriteConcern("majority", j=True, wtimeout=30_000)
        self._requests = database.get_collection("processing_requests", write_concern=durable)

    # Intake

    def begin(self, batch: Batch) -> None:
        """Marks that an upload is being received, before anything else of it is written.

        Raises KeyTaken when its Idempotency-Key names another request of its owner.
        """
        document = document_of_batch(batch) | {"status": "receiving", "claimant": claimant()}
        update: list[dict[str, Any]] = [
            {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": document}]}},
            {"$set": {"lease_expires_at": lease()}},
        ]
        try:
            self._requests.update_one({"request_id": batch.request_id}, update, upsert=True)
        except DuplicateKeyError as error:
            raise KeyTaken("this Idempotency-Key names an earlier upload") from error

    def find_keyed(self, owner: str, key: str) -> tuple[str, IdempotencyKey | None, bool] | None:
        """The request that an Idempotency-Key names, the key as it was used, and if accepted."""
        found = self._requests.find_one({"owner": owner, "idempotency.key": key})
        if found is None:
            return None
        return found["request_id"], idempotency_of(found), found["status"] not in _HIDDEN

    def renew_intake(self, request_id: str) -> None:
        """Raises LostClaim when the sweeper took the upload for abandoned."""
        self._update_receiving(request_id, [{"$set": {"lease_expires_at": lease()}}])

    def commit(self, request_id: str, *, rows: int, total: int) -> None:
        """The request is accepted; journaled on a majority when this returns."""
        counts = {"status": "processing", "rows": rows, "total": total}
        unset = {"$unset": ["lease_expires_at", "claimant"]}
        self._update_receiving(request_id, [{"$set": counts}, unset])

    def _update_receiving(self, request_id: str, update: list[dict[str, Any]]) -> None:
        done = self._requests.update_one({"request_id": request_id, "status": "receiving"}, update)
        if not done.matched_count:
            raise LostClaim(f"upload {request_id} took too long and was given up")

    def give_up(self, request_id: str) -> bool:
        """Hides an upload that is not accepted; `forget` ends it once its parts are gone.

        False when it is not being received any more: swept away, or accepted after all, where
        the commit had come through and only its answer had not.
        """
        given_up = self._requests.update_one(
            {"request_id": request_id, "status": "receiving"},
            [{"$set": {"status": "removing", "lease_expires_at": lease()}}],
        )
        return given_up.matched_count == 1

    def claim_abandoned(self) -> Iterator[str]:
        """Uploads whose receiver died, and removals that nobody finished, to be removed now."""
        for found in self._requests.find({"status": {"$in": _HIDDEN}}):
            unchanged = {"_id": found["_id"], "lease_expires_at": found["lease_expires_at"]}
            is_free = {} if is_dead(found["claimant"]) else IS_EXPIRED
            claimed = self._requests.update_one(
                unchanged | is_free,
                [
                    {
                        "$set": {
                            "status": "removing",
                            "lease_expires_at": lease(),
                            "claimant": claimant(),
                        }
                    }
                ],
            )
            if claimed.matched_count:
                yield found["request_id"]

    def forget(self, request_id: str) -> None:
        self._requests.delete_one({"request_id": request_id, "status": "removing"})

    # Reading

    def find(self, request_id: str) -> Batch | None:
        document = self._requests.find_one({"request_id": request_id, "status": _VISIBLE})
        return batch_of(document) if document else None

    def find_owner(self, request_id: str) -> str | None:
        """Whose request it is, also while its parts go."""
        document = self._requests.find_one({"request_id": request_id}, {"owner": 1})
        return document["owner"] if document else None

    def find_processing(self) -> Iterator[str]:
        """The thousand oldest requests that still run."""
        found = self._requests.find({"status": "processing"}, {"request_id": 1})
        for document in found.sort("created_at", 1).limit(1000):
            yield document["request_id"]

    # Working

    def mark_started(self, request_id: str) -> None:
        self._requests.update_one(
            {"request_id": request_id, "started_at": None},
            [{"$set": {"started_at": "$$NOW"}}],
        )

    def claim_finish(self, request_id: str, round_number: int) -> int | None:
        """A token for writing the output CSV; None when another writes it, or it is done.

        `round_number` is that in which every segment was seen to be done: a retry since then has
        opened some again.
        """
        document = self._requests.find_one_and_update(
            {
                "request_id": request_id,
                "status": "processing",
                "reopening": None,
                **in_round(round_number),
                "$or": [{"lease_expires_at": None}, IS_EXPIRED],
            },
            [
                {
                    "$set": {
                        "finish_token": {"$add": [{"$ifNull": ["$finish_token", 0]}, 1]},
                        "lease_expires_at": lease(),
                        "claimant": claimant(),
                    }
                }
            ],
            return_document=ReturnDocument.AFTER,
        )
        return document["finish_token"] if document else None

    def renew_finish(self, request_id: str, token: int) -> None:
        """Raises LostClaim when another writes the output CSV by now."""
        self._update_finishing(request_id, token, [{"$set": {"lease_expires_at": lease()}}])

    def release_finish(self, request_id: str, token: int) -> None:
        """Lets anybody finish the request at once."""
        self._requests.update_one(
            {"request_id": request_id, "status": "processing", "finish_token": token},
            {"$set": {"lease_expires_at": None, "claimant": None}},
        )

    def end(
        self,
        request_id: str,
        token: int,
        *,
        status: BatchStatus,
        webhook: Webhook | None,
        output_csv_path: str | None = None,
        output_base_url: str | None = None,
        error: str | None = None,
        counts: Counts | None = None,
    ) -> None:
        """The request's end and its pending webhook, in one update. Raises LostClaim."""
        ended = {
            "status": status.value,
            "output_csv_path": output_csv_path,
            "output_base_url": output_base_url,
            "error": error,
            "counts": counts and asdict(counts),
        }
        self._update_finishing(
            request_id,
            token,
            [
                {"$set": {name: {"$literal": value} for name, value in ended.items()}},
                {"$set": {"webhook": put_webhook(webhook)}},
                {"$set": {"completed_at": "$$NOW", "clean_at": lease(ORPHAN_SECONDS)}},
                {"$unset": ["lease_expires_at", "claimant", "cancelling"]},
            ],
        )

    def _update_finishing(self, request_id: str, token: int, update: list[dict[str, Any]]) -> None:
        mine = {"request_id": request_id, "status": "processing", "finish_token": token}
        if not self._requests.update_one(mine, update).matched_count:
            raise LostClaim(f"the finish of {request_id} was taken over")

    def free_dead_finishes(self) -> None:
        """Lets go of the finishes that processes of this host held when they died."""
        held = {"status": "processing", "claimant": {"$ne": None}}
        for found in self._requests.find(held, {"claimant": 1, "finish_token": 1}):
            if is_dead(found["claimant"]):
                self._requests.update_one(
                    {"_id": found["_id"], "finish_token": found["finish_token"]},
                    {"$set": {"lease_expires_at": None, "claimant": None}},
                )

    # Tidying

    def find_untidy(self, limit: int) -> list[tuple[str, datetime]]:
        """Requests whose folders are to be tidied by now, and since when; no more than `limit`."""
        due = {"clean_at": {"$ne": None}, "$expr": {"$lt": ["$clean_at", "$$NOW"]}}
        fields = {"request_id": 1, "clean_at": 1}
        found = self._requests.find(due | {"status": _VISIBLE}, fields).limit(limit)
        return [(document["request_id"], document["clean_at"]) for document in found]

    def tidy_later(self, request_id: str) -> None:
        """A worker that came too late may have left files, also after the request's end."""
        self._requests.update_one(
            {"request_id": request_id, "status": {"$nin": [*_HIDDEN, "processing"]}},
            [{"$set": {"clean_at": lease(ORPHAN_SECONDS + 1)}}],
        )

    def mark_tidy(self, request_id: str, due_at: datetime) -> None:
        """A no-op when it is to be tidied once more since."""
        self._requests.update_one(
            {"request_id": request_id, "clean_at": due_at}, {"$set": {"clean_at": None}}
        )

    # Webhooks

    def claim_webhook(self, now: datetime, busy_hosts: Sequence[str] = ()) -> Webhook | None:
        """A webhook whose time has come, held for one try; none of a host that is busy enough."""
        held_until = now + timedelta(seconds=WEBHOOK_LEASE_SECONDS)
        document = self._requests.find_one_and_update(
            {
                "webhook.state": "pending",
                "webhook.next_attempt_at": {"$lte": now},
                "webhook.host": {"$nin": list(busy_hosts)},
                "status": _VISIBLE,
            },
            {
                "$set": {
                    "webhook.next_attempt_at": held_until,
                    "webhook.under_way": True,
                    "webhook.waits_for": None,
                },
                "$inc": {"webhook.attempts": 1, "webhook.claim": 1},
            },
            sort=[("webhook.next_attempt_at", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return webhook_of(document) if document else None

    def redeliver_webhook(self, request_id: str, now: datetime) -> bool:
        """Makes the last webhook due once more, with all its tries; False when there is none."""
        due = {"state": "pending", "next_attempt_at": now, "attempts": 0}
        return bool(
            self._requests.update_one(
                {"request_id": request_id, "webhook": {"$ne": None}, "status": _VISIBLE},
                {
                    "$set": {f"webhook.{name}": value for name, value in due.items()},
                    "$inc": {"webhook.claim": 1},
                },
            ).matched_count
        )

    def record_webhook(self, webhook: Webhook) -> bool:
        """What became of a try, if no other has been made since; whether that sets one free."""
        recorded = self._requests.update_one(
            {
                "request_id": webhook.request_id,
                "webhook.id": webhook.id,
                "webhook.claim": webhook.claim,
            },
            {
                "$set": {
                    "webhook.state": webhook.state.value,
                    "webhook.next_attempt_at": webhook.next_attempt_at,
                    "webhook.last_status": webhook.last_status,
                    "webhook.under_way": False,
                }
            },
        )
        return not recorded.matched_count and self._free_successor(webhook)

    def _free_successor(self, webhook: Webhook) -> bool:
        """The event that has taken this one's place need not wait for its try any longer."""
        waiting = {
            "request_id": webhook.request_id,
            "webhook.waits_for": {"id": webhook.id, "claim": webhook.claim},
        }
        due = {"webhook.waits_for": None, "webhook.next_attempt_at": datetime.now(UTC)}
        return self._requests.update_one(waiting, {"$set": due}).matched_count == 1
