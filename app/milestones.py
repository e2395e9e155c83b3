"""Webhooks while a request runs: at its start, and at 25, 50 and 75 % (`webhook_events=all`).

In: a request's progress, whenever some was recorded. Out: one event a milestone, pending in the
database and soon delivered. Called by `pipeline`.
"""

from collections.abc import Callable
from functools import partial

from app import webhooks
from app.database import Database
from app.models import Batch, WebhookEvents

OFTEN_TOLD_ROWS = 10_000
"""Of larger requests a segment is at most a hundredth, and its end is soon enough."""


class Milestones:
    """Safe to call from any thread: of those that pass one at once, one tells."""

    def __init__(self, database: Database, deliver_webhooks: Callable[[], None]):
        self._database = database
        self._deliver_webhooks = deliver_webhooks

    def teller(self, batch: Batch) -> Callable[[], None]:
        """`tell` of a request that is so small that a segment may pass several, else nothing."""
        if batch.webhook_events is WebhookEvents.END or batch.rows > OFTEN_TOLD_ROWS:
            return lambda: None
        return partial(self.tell, batch.request_id)

    def tell(self, request_id: str) -> None:
        """Makes and sends the event of the last quarter that was reached, unless it was told.

        Raises DatabaseUnavailable.
        """
        batch = self._database.batches.find(request_id)
        if batch is None or not batch.webhook_url or batch.webhook_events is WebhookEvents.END:
            return
        counts = self._database.segments.sum_counts(request_id)
        percent = webhooks.milestone_of(batch, counts)
        if percent is None or (batch.told_percent is not None and percent <= batch.told_percent):
            return
        event = webhooks.milestone_event_of(batch, counts, percent)
        if self._database.control.tell(batch, percent, event):
            self._deliver_webhooks()
