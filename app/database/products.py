"""Products: one document a row, its images in it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pymongo import UpdateOne
from pymongo.database import Database

from app.database.documents import (
    Document,
    before_round,
    document_of_result,
    document_of_row,
    product_of,
)
from app.database.errors import translating
from app.errors import LostClaim
from app.models import Image, ImageResult, ImageStatus, Product, RetryScope, Row, Segment


@dataclass(frozen=True, slots=True)
class Slot:
    """An image and its place: row and position both count from 1."""

    row: int
    position: int
    image: Image


@dataclass(frozen=True, slots=True)
class Saving:
    """A row's completed images together, and the bytes of them before and after."""

    row: int
    serial_number: str
    product_name: str
    images: int
    bytes_in: int
    bytes_out: int


@translating
class Products:
    def __init__(self, database: Database[Document]):
        self._products = database["products"]

    def insert(self, request_id: str, rows: Iterable[Row]) -> None:
        documents = [document_of_row(request_id, row) for row in rows]
        self._products.insert_many(documents, ordered=False)

    def delete(self, request_id: str) -> None:
        self._products.delete_many({"request_id": request_id})

    def iterate(self, request_id: str, rows: range | None = None) -> Iterator[Product]:
        """Every product, or those of some rows, in order of row, read as they are consumed."""
        query: Document = {"request_id": request_id}
        if rows is not None:
            query["row"] = {"$gte": rows[0], "$lte": rows[-1]}
        found = self._products.find(query, {"row": 1, "images": 1, "fence": 1})
        for document in found.sort("row", 1).batch_size(1000):
            yield product_of(document)

    def take_over(self, segment: Segment) -> None:
        """Fences a claimed segment's rows against earlier claimants."""
        self._products.update_many(_rows(segment), {"$set": {"fence": segment.token}})

    def read(self, segment: Segment) -> list[Product]:
        return self._read(_rows(segment))

    def read_open(self, segment: Segment) -> list[Product]:
        """Those of which an image has no result."""
        return self._read(_rows(segment) | {"images.status": "pending"})

    def _read(self, query: Document) -> list[Product]:
        found = self._products.find(query, {"row": 1, "images": 1, "fence": 1})
        return [product_of(document) for document in found.sort("row", 1)]

    def let_go(self, segment: Segment) -> None:
        """Unfences the rows of a segment that was put back."""
        self._products.update_many(
            _rows(segment) | {"fence": segment.token}, {"$unset": {"fence": ""}}
        )

    def has_transient(self, request_id: str) -> bool:
        """Whether an image has an error that may heal; reads on until it has found one."""
        retryable = {"images": {"$elemMatch": _retryable(RetryScope.TRANSIENT)}}
        return (
            self._products.find_one({"request_id": request_id} | retryable, {"_id": 1}) is not None
        )

    def reopen(self, segment: Segment, round_number: int, scope: RetryScope) -> None:
        """Makes pending what a retry runs again, once a round: whoever comes late changes nothing.

        Only rows of a segment that is not opened yet in that round.
        """
        old = (
            _rows(segment)
            | before_round(round_number)
            | {"images": {"$elemMatch": _retryable(scope)}}
        )
        gone = ("path", "bytes_in", "bytes_out", "kept_original", "error", "reused")
        self._products.update_many(
            old,
            {
                "$set": {"images.$[again].status": "pending", "round": round_number},
                "$unset": {f"images.$[again].{name}": "" for name in gone} | {"fence": ""},
            },
            array_filters=[{f"again.{name}": value for name, value in _retryable(scope).items()}],
        )
        # The others have had their turn too, whatever becomes of them in this round.
        self._products.update_many(
            _rows(segment) | before_round(round_number), {"$set": {"round": round_number}}
        )

    def cancel(self, segment: Segment, result: ImageResult) -> None:
        """Gives every open image of the segment that result, in one update. Raises LostClaim."""
        fields = document_of_result(result).items()
        cancelled = self._products.update_many(
            _rows(segment) | {"fence": segment.token, "images.status": "pending"},
            {"$set": {f"images.$[open].{name}": value for name, value in fields}},
            array_filters=[{"open.status": "pending"}],
        )
        if not cancelled.matched_count:
            raise LostClaim(f"segment {segment.id} was taken over")

    def record(
        self, segment: Segment, results: Iterable[tuple[int, int, ImageResult, str | None]]
    ) -> None:
        """Writes results by (row, position, result, public URL).

        Raises LostClaim when another worker has claimed the segment since.
        """
        by_row: dict[int, Document] = {}
        for row, position, result, url in results:
            changes = by_row.setdefault(row, {})
            for key, value in document_of_result(result).items():
                changes[f"images.{position - 1}.{key}"] = value
            changes[f"output_urls.{position - 1}"] = url
        updates = [
            UpdateOne(
                {"request_id": segment.request_id, "row": row, "fence": segment.token},
                {"$set": changes},
            )
            for row, changes in by_row.items()
        ]
        if updates and self._products.bulk_write(updates, ordered=False).matched_count < len(
            updates
        ):
            raise LostClaim(f"segment {segment.id} was taken over")

    def find_named(self, request_id: str, paths: Iterable[str]) -> set[str]:
        """Those of the paths that a product names; a file's name begins with its product's row."""
        wanted = set(paths)
        rows = {path.rpartition("/")[2].partition("-")[0] for path in wanted}
        query = {"request_id": request_id, "row": {"$in": [int(r) for r in rows if r.isdecimal()]}}
        found = self._products.find(query, {"images.path": 1})
        return wanted & {image.get("path") for document in found for image in document["images"]}

    def page(
        self,
        request_id: str,
        *,
        after: tuple[int, int],
        limit: int,
        status: ImageStatus | None = None,
    ) -> tuple[list[Slot], bool]:
        """Slots behind (row, position) in order, and whether more follow."""
        query: Document = {"request_id": request_id, "row": {"$gte": after[0]}}
        if status is not None:
            is_open = status in (ImageStatus.PENDING, ImageStatus.PROCESSING)
            query["images.status"] = "pending" if is_open else status.value
        found = self._products.find(query, {"row": 1, "images": 1, "fence": 1}).sort("row", 1)
        page: list[Slot] = []
        with found.batch_size(limit + 1) as documents:
            for slot in _slots(documents):
                if (slot.row, slot.position) <= after:
                    continue
                if status not in (None, slot.image.result.status):
                    continue
                if len(page) == limit:
                    return page, True
                page.append(slot)
        return page, False

    def largest_savings(self, request_id: str, *, last_row: int, limit: int) -> list[Saving]:
        """Those of the first rows whose images lost the most bytes, the most first."""
        done = {"$filter": {"input": "$images", "cond": {"$eq": ["$$this.status", "completed"]}}}
        found = self._products.aggregate(
            [
                {"$match": {"request_id": request_id, "row": {"$lte": last_row}}},
                {"$set": {"images": done}},
                {
                    "$project": {
                        "_id": False,
                        "row": True,
                        "serial_number": True,
                        "product_name": True,
                        "images": {"$size": "$images"},
                        "bytes_in": {"$sum": "$images.bytes_in"},
                        "bytes_out": {"$sum": "$images.bytes_out"},
                    }
                },
                {"$set": {"saved": {"$subtract": ["$bytes_in", "$bytes_out"]}}},
                {"$match": {"saved": {"$gt": 0}}},
                {"$sort": {"saved": -1, "row": 1}},
                {"$limit": limit},
                {"$unset": "saved"},
            ]
        )
        return [Saving(**document) for document in found]


def _rows(segment: Segment) -> Document:
    between = {"$gte": segment.first_row, "$lte": segment.last_row}
    return {"request_id": segment.request_id, "row": between}


def _retryable(scope: RetryScope) -> Document:
    """A filter on one image."""
    may_heal = {"error.permanent": False} if scope is RetryScope.TRANSIENT else {}
    return {"status": {"$in": ["failed", "cancelled"]}} | may_heal


def _slots(documents: Iterable[Document]) -> Iterator[Slot]:
    for document in documents:
        product = product_of(document)
        for position, image in enumerate(product.images, start=1):
            yield Slot(product.row, position, image)
