"""Removes what belongs to nobody: requests that go as a whole, and files that no document names.

Called for refused uploads and deleted requests, and by the sweeper: for uploads whose receiver
died, removals that nobody finished, requests older than RETENTION_DAYS, and the files that a worker
had written when it died. Can be broken off and done again anywhere.
"""

from collections.abc import Iterator
from itertools import islice

from app.database import Database
from app.database.leases import ORPHAN_SECONDS
from app.storage import Storage

KEYS_AT_ONCE = 1_000


def remove(request_id: str, database: Database, storage: Storage) -> None:
    """Removes a request that is hidden already; its own document last, as it names the rest."""
    storage.delete(f"uploads/{request_id}")
    storage.delete(f"processed/{request_id}")
    storage.delete(f"outputs/{request_id}")
    database.products.delete(request_id)
    database.segments.delete(request_id)
    database.results.delete(request_id)
    database.batches.forget(request_id)


def remove_orphans(request_id: str, database: Database, storage: Storage) -> None:
    """Removes the files of an ended request that none of its documents names."""
    for keys in _groups(storage.find_older(f"processed/{request_id}", ORPHAN_SECONDS)):
        for key in set(keys) - database.products.find_named(request_id, keys):
            storage.delete(key)
    batch = database.batches.find(request_id)
    named = {batch.upload_path, batch.output_csv_path} if batch else set()
    for area in ("uploads", "outputs"):
        for key in storage.find_older(f"{area}/{request_id}", ORPHAN_SECONDS):
            if key not in named:
                storage.delete(key)


def leave_nothing(request_id: str, database: Database, storage: Storage) -> None:
    """For a worker that came too late: what it wrote may be nobody's, the request may be gone."""
    if database.control.is_removed(request_id):
        storage.delete(f"processed/{request_id}")
        storage.delete(f"outputs/{request_id}")
    else:
        database.batches.tidy_later(request_id)


def _groups(keys: Iterator[str]) -> Iterator[list[str]]:
    while group := list(islice(keys, KEYS_AT_ONCE)):
        yield group
