"""Results by URL, so that a URL which repeats in a request is fetched and compressed once.

A segment claims its URLs here before it fetches them. What another live segment holds is left to
that one and copied once recorded; what a dead one held is taken over.

A result keeps what identifies its source, if its host tells: a later request of the same owner and
options finds it by that, and asks the host whether it has changed. It goes with its request.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pymongo import DESCENDING, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.database.documents import (
    Document,
    before_round,
    document_of_result,
    document_of_source,
    earlier_of,
    result_of,
)
from app.database.errors import translating
from app.errors import LostClaim
from app.models import Earlier, ImageResult, Segment, Source

_REMEMBERED_REQUESTS = 2
"""Of one URL, so that deleting the newest forgets nothing, and a thousand cost no more."""
_DUPLICATE_KEY = 11000


@dataclass(frozen=True, slots=True)
class UrlClaims:
    """A segment's URLs: its own to fetch, done already, or held by another (segment, token)."""

    mine: tuple[str, ...]
    done: Mapping[str, ImageResult]
    held: Mapping[str, tuple[str, int]]


@translating
class Results:
    def __init__(self, database: Database[Document]):
        self._results = database["results"]

    def claim(self, segment: Segment, urls: Iterable[str]) -> UrlClaims:
        """Claims what is free; one operation when no URL was seen before, else two or three."""
        ids = {_id(segment, url): url for url in urls}
        taken = self._insert_claims(segment, ids)
        if taken:  # some by an earlier worker of this segment: from here on nobody takes them over
            self._results.update_many(
                {"_id": {"$in": taken}, "segment": segment.id, "token": {"$lt": segment.token}},
                {"$set": {"token": segment.token}},
            )
            self._take_failures_of_earlier_rounds(segment, taken)
        done: dict[str, ImageResult] = {}
        held: dict[str, tuple[str, int]] = {}
        for document in self._results.find({"_id": {"$in": taken}}):
            url = ids[document["_id"]]
            if document["result"]:
                done[url] = result_of(document["result"])
            elif document["segment"] != segment.id:
                held[url] = (document["segment"], document["token"])
        mine = tuple(url for url in ids.values() if url not in done and url not in held)
        return UrlClaims(mine, done, held)

    def _take_failures_of_earlier_rounds(self, segment: Segment, ids: list[str]) -> None:
        """A retry makes them anew, once a round wherever the URL stands."""
        if segment.round:
            self._results.update_many(
                {"_id": {"$in": ids}, "result.status": "failed"} | before_round(segment.round),
                {"$set": {"segment": segment.id, "token": segment.token, "result": None}},
            )

    def _insert_claims(self, segment: Segment, ids: Iterable[str]) -> list[str]:
        """The ids that were there already."""
        claim = {
            "request_id": segment.request_id,
            "segment": segment.id,
            "token": segment.token,
            "result": None,
        }
        try:
            self._results.insert_many([{"_id": key} | claim for key in ids], ordered=False)
        except BulkWriteError as error:
            faults = error.details["writeErrors"]
            if any(fault["code"] != _DUPLICATE_KEY for fault in faults):
                raise
            return [fault["op"]["_id"] for fault in faults]
        return []

    def take_over(self, segment: Segment, url: str, holder: tuple[str, int]) -> bool:
        """Claims a URL whose holder no longer works on it; False when another was faster."""
        taken = self._results.update_one(
            {
                "_id": _id(segment, url),
                "segment": holder[0],
                "token": holder[1],
                "result": None,
            },
            {"$set": {"segment": segment.id, "token": segment.token}},
        )
        return taken.matched_count == 1

    def find_earlier(self, kind: str, urls: Iterable[str]) -> dict[str, Earlier]:
        """What the newest earlier request has made of each URL; by `kind`, as it was recorded."""
        by_key = {_source_key(kind, url): url for url in urls}
        if not by_key:
            return {}
        query = {"source.key": {"$in": list(by_key)}}
        found = self._results.find(query, {"source": 1, "result": 1})
        earlier: dict[str, Earlier] = {}
        times: Counter[bytes] = Counter()
        surplus = []
        for document in found.sort("source.at", DESCENDING):
            key = document["source"]["key"]
            times[key] += 1
            earlier.setdefault(by_key[key], earlier_of(document))
            if times[key] > _REMEMBERED_REQUESTS:
                surplus.append(document["_id"])
        if surplus:
            self._results.update_many({"_id": {"$in": surplus}}, {"$unset": {"source": ""}})
        return earlier

    def record(
        self,
        segment: Segment,
        results: Mapping[str, ImageResult],
        sources: Mapping[str, Source] | None = None,
        kind: str = "",
    ) -> None:
        """Writes the results of URLs that the segment claimed. Raises LostClaim.

        `sources` identify those that a later request may ask for; `kind` says in one word what
        besides the URL a result depends on, such as its owner and options.
        """
        sources = sources or {}
        updates = []
        for url, result in results.items():
            fields = {"result": document_of_result(result), "round": segment.round}
            if url in sources:
                fields["source"] = document_of_source(sources[url], _source_key(kind, url))
            mine = {"_id": _id(segment, url), "segment": segment.id, "token": segment.token}
            updates.append(UpdateOne(mine, {"$set": fields}))
        if updates and self._results.bulk_write(updates, ordered=False).matched_count < len(
            updates
        ):
            raise LostClaim(f"segment {segment.id} was taken over")

    def delete(self, request_id: str) -> None:
        """By a range of `_id`, since no other index is kept."""
        self._results.delete_many({"_id": {"$gte": f"{request_id}:", "$lt": f"{request_id};"}})


def _source_key(kind: str, url: str) -> bytes:
    return hashlib.blake2b(f"{kind}\0{url}".encode(), digest_size=16).digest()


def _id(segment: Segment, url: str) -> str:
    digest = hashlib.blake2b(url.encode(), digest_size=16).hexdigest()
    return f"{segment.request_id}:{digest}"
