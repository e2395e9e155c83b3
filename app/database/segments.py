"""Segments: runs of a request's rows, claimed by one worker at a time.

States: `waiting` → `claimed` → `done`; back to `waiting` when its worker puts it back. A claim
holds as long as its lease; every claim raises the token, on which every later write depends.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from pymongo import ReturnDocument, UpdateOne, WriteConcern
from pymongo.database import Database

from app.database.documents import NO_COUNTS, Document, before_round, segment_of
from app.database.errors import translating
from app.database.leases import IS_EXPIRED, claimant, is_dead, lease
from app.errors import LostClaim
from app.models import Counts, Segment

_CLAIMABLE = [{"state": "waiting"}, {"state": "claimed"} | IS_EXPIRED]


@translating
class Segments:
    def __init__(self, database: Database[Document]):
        # Journaled: a claim that a crash of the server forgets would give its token away twice.
        # The journal is sequential, so progress that is in it vouches for the results before it.
        durable = WriteConcern("majority", j=True, wtimeout=30_000)
        self._segments = database.get_collection("segments", write_concern=durable)

    def insert(self, request_id: str, runs: Iterable[tuple[int, int]]) -> None:
        """Adds waiting segments, each from a first to a last row."""
        documents: list[Document] = [
            {
                "_id": f"{request_id}:{first_row}",
                "request_id": request_id,
                "first_row": first_row,
                "last_row": last_row,
                "state": "waiting",
                "token": 0,
                "counts": NO_COUNTS,
                "fruitless_claims": 0,
            }
            for first_row, last_row in runs
        ]
        self._segments.insert_many(documents, ordered=False)

    def delete(self, request_id: str) -> None:
        self._segments.delete_many({"request_id": request_id})

    def find_claimable(self, request_id: str, limit: int) -> list[str]:
        """Ids of segments that nobody works on, the first rows first."""
        found = self._segments.find({"request_id": request_id, "$or": _CLAIMABLE}, {"_id": 1})
        return [document["_id"] for document in found.sort("first_row", 1).limit(limit)]

    def are_all_done(self, request_id: str) -> bool:
        unfinished = {"request_id": request_id, "state": {"$in": ["waiting", "claimed"]}}
        return self._segments.find_one(unfinished, {"_id": 1}) is None

    def claim(self, segment_id: str) -> Segment | None:
        """The segment under a new token, or None when another holds it or it is done."""
        document = self._segments.find_one_and_update(
            {"_id": segment_id, "$or": _CLAIMABLE},
            [
                {
                    "$set": {
                        "state": "claimed",
                        "token": {"$add": ["$token", 1]},
                        "lease_expires_at": lease(),
                        "claimant": claimant(),
                        "fruitless_claims": {"$add": ["$fruitless_claims", 1]},
                    }
                }
            ],
            return_document=ReturnDocument.AFTER,
        )
        return segment_of(document) if document else None

    def renew(self, segment: Segment) -> None:
        """Holds the claim for another lease. Raises LostClaim."""
        self._update(segment, {"lease_expires_at": lease()})

    def progress(self, segment: Segment, counts: Counts) -> None:
        """The same, with new results recorded. Raises LostClaim."""
        fields = {"lease_expires_at": lease(), "counts": asdict(counts), "fruitless_claims": 0}
        self._update(segment, fields)

    def finish(self, segment: Segment, counts: Counts) -> None:
        """Raises LostClaim."""
        self._update(segment, {"state": "done", "counts": asdict(counts), "claimant": None})

    def release(self, segment: Segment) -> None:
        """Puts a segment back for anybody to go on with; a no-op when it was taken over."""
        self._segments.update_one(
            {"_id": segment.id, "token": segment.token, "state": "claimed"},
            {"$set": {"state": "waiting", "claimant": None, "fruitless_claims": 0}},
        )

    def find_to_reopen(self, request_id: str, round_number: int, limit: int) -> list[Segment]:
        """Segments with images that did not succeed, and that are not opened in that round yet."""
        unsuccessful = [{"counts.failed": {"$gt": 0}}, {"counts.cancelled": {"$gt": 0}}]
        found = self._segments.find(
            {"request_id": request_id, "$or": unsuccessful} | before_round(round_number)
        )
        return [segment_of(document) for document in found.sort("first_row", 1).limit(limit)]

    def reopen(self, opened: Iterable[tuple[Segment, Counts, bool]], round_number: int) -> None:
        """Lets segments be claimed in a further round, those that have work in it (the bool).

        A no-op for each that another has opened in that round.
        """
        updates = [
            UpdateOne(
                {"_id": segment.id} | before_round(round_number),
                {
                    "$set": {
                        "state": "waiting" if has_work else "done",
                        "round": round_number,
                        "counts": asdict(counts),
                        "fruitless_claims": 0,
                    }
                },
            )
            for segment, counts, has_work in opened
        ]
        if updates:
            self._segments.bulk_write(updates, ordered=False)

    def _update(self, segment: Segment, fields: dict[str, Any]) -> None:
        mine = {"_id": segment.id, "token": segment.token, "state": "claimed"}
        if not self._segments.update_one(mine, [{"$set": fields}]).matched_count:
            raise LostClaim(f"segment {segment.id} was taken over")

    def free_dead_claims(self) -> None:
        """Puts back what processes of this host held when they died, without awaiting the lease."""
        for found in self._segments.find({"state": "claimed"}, {"claimant": 1, "token": 1}):
            if is_dead(found["claimant"]):
                self._segments.update_one(
                    {"_id": found["_id"], "token": found["token"], "state": "claimed"},
                    {"$set": {"state": "waiting", "claimant": None}},
                )

    def find_held(self, holders: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of the given (id, token) claims that are still being worked on."""
        wanted = set(holders)
        found = self._segments.find(
            {
                "_id": {"$in": [segment_id for segment_id, _ in wanted]},
                "state": "claimed",
                "$expr": {"$gte": ["$lease_expires_at", "$$NOW"]},
            },
            {"token": 1},
        )
        return wanted & {(document["_id"], document["token"]) for document in found}

    def sum_counts(self, request_id: str) -> Counts:
        """Progress of a request: every segment counts its own slots, so nothing counts twice."""
        return self.sum_counts_of([request_id])[request_id]

    def sum_counts_of(self, request_ids: Sequence[str]) -> dict[str, Counts]:
        """The same of several requests, by id."""
        sums = {name: {"$sum": f"$counts.{name}"} for name in NO_COUNTS}
        stages: list[dict[str, Any]] = [
            {"$match": {"request_id": {"$in": list(request_ids)}}},
            {"$group": {"_id": "$request_id"} | sums},
        ]
        found = {document.pop("_id"): document for document in self._segments.aggregate(stages)}
        return {each: Counts(**found.get(each, NO_COUNTS)) for each in request_ids}
