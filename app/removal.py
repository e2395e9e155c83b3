"""Removes what belongs to nobody: requests that go as a whole, and files that no document names.

Called for refused uploads, and by the sweeper: for uploads whose receiver died, and for the files
that a worker had written when it died. Can be broken off and done again anywhere.
"""

from app.database import Database
from app.database.leases import ORPHAN_SECONDS
from app.storage import Storage


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
    for key in storage.find_older(f"processed/{request_id}", ORPHAN_SECONDS):
        if not database.products.names(request_id, key):
            storage.delete(key)
    batch = database.batches.find(request_id)
    named = {batch.upload_path, batch.output_csv_path} if batch else set()
    for area in ("uploads", "outputs"):
        for key in storage.find_older(f"{area}/{request_id}", ORPHAN_SECONDS):
            if key not in named:
                storage.delete(key)
    database.batches.mark_tidy(request_id)
