"""Removes a request with everything that belongs to it; can be broken off and done again anywhere.

Called for refused uploads, and by the sweeper for those whose receiver died.
"""

from app.database import Database
from app.storage import Storage


def remove(request_id: str, database: Database, storage: Storage) -> None:
    """Removes a request that is hidden already; its own document last, as it names the rest."""
    storage.delete(f"uploads/{request_id}")
    storage.delete(f"processed/{request_id}")
    database.products.delete(request_id)
    database.segments.delete(request_id)
    database.results.delete(request_id)
    database.batches.forget(request_id)
