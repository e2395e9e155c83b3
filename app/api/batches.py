"""Finds the request that a path names, for its owner. Called by the views whose path has an id."""

import re

from app.api.owner import current_owner
from app.errors import NotFound
from app.models import Batch
from app.services import Services

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def is_request_id(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def find_batch(services: Services, request_id: str) -> Batch:
    """Raises NotFound, also for a request of another owner: nobody learns that it is there."""
    batch = (
        services.database.batches.find(request_id.lower()) if is_request_id(request_id) else None
    )
    if batch is None or batch.owner != current_owner():
        raise NotFound("Request ID not found")
    return batch
