"""The reset that a retry brings, segment by segment: what is to run again becomes pending anew.

    the request runs in a further round (`control.retry`, the commit)
    → the rows of a few segments → their counts and states → … → the request may end again

Each step is a conditional update on the round, so that it happens once in each, whoever does it
and however often it is begun again: one who slept since changes nothing that was done meanwhile. A
segment is open for work as soon as its own rows are put back. Failures in `results` stay: a claim
in a later round takes them over. Called by the pipeline, a piece at a time, until nothing is left.
"""

from app.database import Database
from app.models import Batch, Counts, RetryScope, Segment

SEGMENTS_AT_ONCE = 50


def reopen(batch: Batch, scope: RetryScope, database: Database) -> None:
    """Puts back what the next segments have to do again. Raises DatabaseUnavailable."""
    segments = database.segments.find_to_reopen(batch.request_id, batch.round, SEGMENTS_AT_ONCE)
    opened = [_put_back(segment, batch.round, scope, database) for segment in segments]
    database.segments.reopen(opened, batch.round)
    if len(segments) < SEGMENTS_AT_ONCE:
        database.control.end_reopening(batch)


def _put_back(
    segment: Segment, round_number: int, scope: RetryScope, database: Database
) -> tuple[Segment, Counts, bool]:
    """A segment's rows, counted anew, and whether any of it is to be done again."""
    database.products.reopen(segment, round_number, scope)
    results = {
        (product.row, position): image.result
        for product in database.products.read(segment)
        for position, image in enumerate(product.images, start=1)
    }
    counts = Counts.of(results)
    return segment, counts, counts.done < len(results)
