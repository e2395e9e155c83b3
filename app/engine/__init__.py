"""Where segments are worked off. Every engine calls the same `Pipeline.run_segment`."""

from typing import Protocol


class Engine(Protocol):
    """Runs segments soon. A hint only: the database is the truth, the sweeper submits what is lost.

    Submitting a segment twice, or one that is done, does no harm. Safe to call from any thread.
    """

    def submit(self, segment_id: str) -> None:
        """Has the segment run, in turn with those of other requests."""

    def check(self) -> None:
        """Raises BrokerUnavailable while it cannot have anything run; at once, or after 2 s."""

    def stop(self) -> None:
        """Takes no more, and returns once what runs has ended."""
