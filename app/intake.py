"""The web half: an uploaded file becomes a stored request.

    (a workbook → CSV) → mark the intake → store the file → insert products and segments
    → commit → submit

A request exists from the commit on, one conditional update; whatever dies before it leaves a marked
intake, which the sweeper removes. Nothing is held in memory but two groups of rows.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO

import structlog

from app.catalog import Catalog, Columns, SheetReader, is_workbook, open_catalog
from app.database import Database
from app.errors import BadCatalog, Conflict, KeyTaken, LostClaim, Unavailable
from app.every import Every
from app.models import (
    SEGMENT_ROWS,
    SHEET_NAME,
    Batch,
    BatchOptions,
    BatchStatus,
    Fault,
    IdempotencyKey,
    Row,
    WebhookEvents,
)
from app.removal import remove
from app.storage import Storage

SEGMENT_IMAGES = 500
"""A segment ends with these or with SEGMENT_ROWS, so that rows of many images make no giants."""
INSERT_ROWS = 1_000
INSERT_CHARACTERS = 1_000_000
"""Rows may be wide: a thousand of 100 KB each held 196 MB in memory (measured)."""
RENEW_SECONDS = 5
COPY_BYTES = 1_048_576
KEY_SECONDS = 5
"""So long a thread is held for an upload whose first sending is still being received."""
KEY_POLL_SECONDS = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """What the caller sent; `file` is seekable. `is_sheet`: it was a workbook, and is CSV now."""

    file: BinaryIO
    filename: str
    owner: str
    options: BatchOptions
    webhook_url: str | None = None
    refuse_faults: bool = False
    idempotency_key: str | None = None
    webhook_events: WebhookEvents = WebhookEvents.END
    is_sheet: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a dry run found: `columns` are headers by meaning, `faults` the first 1,000."""

    rows: int
    images: int
    columns: dict[str, list[str]]
    faults: tuple[Fault, ...]
    fault_count: int


class Intake:
    """Accepts uploads. Its methods are called from many threads."""

    def __init__(
        self,
        *,
        database: Database,
        storage: Storage,
        sheets: SheetReader,
        max_rows: int,
        go_on: Callable[[str], None],
    ):
        self._database = database
        self._storage = storage
        self._sheets = sheets
        self._max_rows = max_rows
        self._go_on = go_on

    def check(self, upload: Upload) -> Report:
        """As the function `check`."""
        return check(upload, self._sheets, self._max_rows)

    def accept(self, upload: Upload) -> str:
        """Stores an upload; its request id, once nothing of it can be lost any more.

        Raises BadCatalog with every fault found, and Unavailable while database or disk can't
        take it; then nothing is left behind.
        """
        self._storage.check_room()
        idempotency = _idempotency(upload)  # of the bytes as they were sent
        with _as_csv(upload, self._sheets) as upload:
            batch = _new_batch(upload, idempotency)
            with structlog.contextvars.bound_contextvars(request_id=batch.request_id):
                return self._accept(batch, upload)

    def _accept(self, batch: Batch, upload: Upload) -> str:
        earlier = self._begin(batch)
        if earlier is not None:
            return earlier
        batches = self._database.batches
        renewal = Every(RENEW_SECONDS, lambda: batches.renew_intake(batch.request_id))
        try:
            self._store_file(batch, upload, renewal)
            self._store_rows(batch, upload, renewal)
        except LostClaim as error:
            self._remove(batch.request_id)  # what was inserted after the sweeper had been there
            raise Unavailable("the upload was interrupted for too long; send it again") from error
        except BaseException:
            if self._remove(batch.request_id):
                raise
        log.info("request accepted", request_id=batch.request_id)
        self._begin_work(batch.request_id)
        return batch.request_id

    def _begin(self, batch: Batch) -> str | None:
        """Marks the intake; or the id of the earlier request that its Idempotency-Key names.

        Raises Conflict when that was another upload, Unavailable when it is still being received.
        """
        give_up_at = time.monotonic() + KEY_SECONDS
        while time.monotonic() < give_up_at:
            try:
                self._database.batches.begin(batch)
            except KeyTaken:
                earlier = self._find_earlier(batch)
                if earlier is not None:
                    return earlier
                time.sleep(KEY_POLL_SECONDS)
            else:
                return None
        raise Unavailable("the first upload with this Idempotency-Key is still being received")

    def _find_earlier(self, batch: Batch) -> str | None:
        assert batch.idempotency
        found = self._database.batches.find_keyed(batch.owner, batch.idempotency.key)
        if found is None:
            return None
        request_id, idempotency, is_accepted = found
        if idempotency != batch.idempotency:
            raise Conflict(
                "this Idempotency-Key was used for another file or other fields; send a new key "
                "with a new upload"
            )
        return request_id if is_accepted else None

    def _begin_work(self, request_id: str) -> None:
        try:
            self._go_on(request_id)
        except Unavailable as error:  # accepted all the same; the sweeper begins it later
            log.warning("request waits", request_id=request_id, reason=str(error))

    def _store_file(self, batch: Batch, upload: Upload, renewal: Every) -> None:
        upload.file.seek(0)
        with self._storage.create(f"uploads/{batch.request_id}") as stored:
            while chunk := upload.file.read(COPY_BYTES):
                stored.write(chunk)
                renewal.when_due()
            renewal.during(lambda: self._storage.put(batch.upload_path, stored))

    def _store_rows(self, batch: Batch, upload: Upload, renewal: Every) -> None:
        """While the database takes one group of rows, the next is read."""
        runs = _Runs()
        insert = partial(self._database.products.insert, batch.request_id)
        with _open(upload, self._max_rows) as catalog, ThreadPoolExecutor(1, "insert") as inserting:
            inserted: Future[None] | None = None
            for rows in _groups(catalog.rows()):
                runs.add(rows)
                if inserted:
                    inserted.result()
                inserted = inserting.submit(insert, rows)
                renewal.when_due()
            if inserted:
                inserted.result()
            _refuse_faults(upload, catalog)
        self._database.segments.insert(batch.request_id, runs.closed())
        self._database.batches.commit(batch.request_id, rows=runs.rows, total=runs.images)

    def _remove(self, request_id: str) -> bool:
        """False when nothing was removed, since the upload has been accepted after all."""
        batches = self._database.batches
        try:
            if not batches.give_up(request_id) and batches.find(request_id):
                return False
            remove(request_id, self._database, self._storage)
        except Unavailable as error:  # the sweeper does it once they are back
            log.warning("upload left for the sweeper", request_id=request_id, reason=str(error))
        return True


def check(upload: Upload, sheets: SheetReader, max_rows: int) -> Report:
    """Reads a file through and stores nothing; needs no database. Raises BadCatalog."""
    rows = images = 0
    with _as_csv(upload, sheets) as upload, _open(upload, max_rows) as catalog:
        for row in catalog.rows():
            rows += 1
            images += len(row.urls)
        _refuse_faults(upload, catalog)
        columns = _headers_by_meaning(catalog.columns)
        return Report(rows, images, columns, tuple(catalog.faults), catalog.fault_count)


@contextmanager
def _as_csv(upload: Upload, sheets: SheetReader) -> Iterator[Upload]:
    """Whoever stores or reads it later sees the first sheet of a workbook, never a workbook."""
    if is_workbook(upload.file):
        with sheets.as_csv(upload.file) as sheet:
            yield replace(upload, file=sheet, is_sheet=True)
    else:
        yield upload


def _open(upload: Upload, max_rows: int):  # type: ignore[no-untyped-def]
    upload.file.seek(0)
    return open_catalog(
        upload.file,
        image_columns=upload.options.image_columns,
        base_url=upload.options.base_url,
        max_rows=max_rows,
        is_sheet=upload.is_sheet,
    )


def _new_batch(upload: Upload, idempotency: IdempotencyKey | None) -> Batch:
    request_id = str(uuid.uuid4())
    return Batch(
        request_id=request_id,
        owner=upload.owner,
        status=BatchStatus.PROCESSING,
        created_at=datetime.now(UTC),
        filename=upload.filename,
        upload_path=f"uploads/{request_id}/{SHEET_NAME if upload.is_sheet else 'upload'}",
        options=upload.options,
        total=0,
        rows=0,
        webhook_url=upload.webhook_url,
        idempotency=idempotency,
        webhook_events=upload.webhook_events,
    )


def _idempotency(upload: Upload) -> IdempotencyKey | None:
    """The key, with a hash of all that makes an upload the same upload."""
    if upload.idempotency_key is None:
        return None
    upload.file.seek(0)
    digest = hashlib.file_digest(upload.file, "sha256")  # type: ignore[arg-type]
    said = (upload.filename, upload.options, upload.webhook_url, upload.refuse_faults)
    digest.update(repr((*said, upload.webhook_events.value)).encode())
    return IdempotencyKey(upload.idempotency_key, digest.hexdigest())


def _headers_by_meaning(columns: Columns) -> dict[str, list[str]]:
    single = {"serial_number": columns.serial_number, "product_name": columns.product_name}
    found = {meaning: [column.header] for meaning, column in single.items() if column}
    return {"images": [column.header for column in columns.images]} | found


def _refuse_faults(upload: Upload, catalog: Catalog) -> None:
    count = catalog.fault_count
    if upload.refuse_faults and count:
        found, them = ("1 fault was", "it") if count == 1 else (f"{count} faults were", "them")
        raise BadCatalog(
            f"{found} found and on_error=reject was asked for; "
            f"mend {them}, or send on_error=skip to run the other rows",
            catalog.faults,
            catalog.fault_count,
        )


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows to insert together, as many as are good for speed and for memory."""
    group: list[Row] = []
    characters = 0
    for row in rows:
        group.append(row)
        characters += sum(map(len, row.cells))
        if len(group) == INSERT_ROWS or characters > INSERT_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


class _Runs:
    """Cuts rows into segments as they pass by: first and last row of each."""

    def __init__(self) -> None:
        self.rows = 0
        self.images = 0
        self._runs: list[tuple[int, int]] = []
        self._first_row = 1
        self._images = 0

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.rows = row.number
            self.images += len(row.urls)
            self._images += len(row.urls)
            if row.number - self._first_row + 1 >= SEGMENT_ROWS or self._images >= SEGMENT_IMAGES:
                self._close()

    def closed(self) -> list[tuple[int, int]]:
        if self.rows >= self._first_row:
            self._close()
        return self._runs

    def _close(self) -> None:
        self._runs.append((self._first_row, self.rows))
        self._first_row = self.rows + 1
        self._images = 0
