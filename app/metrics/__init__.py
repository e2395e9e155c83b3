"""What happens in this process is counted here, until `GET /metrics` asks.

Called where something ends: by `segment_run` once a batch of images, by `pipeline`, `webhooks` and
the API. Times travel on what is handed on (`Timings`), so that the threads that fetch and code
touch nothing shared. `sharing` adds up several processes, `text` writes for Prometheus.
"""

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from app.metrics import meters
from app.metrics.meters import Kind, Meter
from app.models import Batch, BatchStatus, ImageResult, Timings, Webhook, WebhookState

Key = tuple[str, tuple[str, ...]]
"""A meter's name, and the values of its labels in their order."""
_SIZES = {meter.name: meter.size for meter in meters.METERS}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts since the first start, and gauges of now.

    A counter is a list of one number. A histogram is its buckets, each with what it alone holds and
    the last for what is beyond all bounds, and then the sum of all values.
    """

    counts: dict[Key, list[float]] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)

    def add(self, other: "Snapshot") -> None:
        add_counts(self.counts, other.counts)
        for key, value in other.gauges.items():
            self.gauges[key] = self.gauges.get(key, 0) + value


def add_counts(counts: dict[Key, list[float]], more: Mapping[Key, list[float]]) -> None:
    """Adds to `counts`; what another version has counted in other buckets is left out."""
    for key, values in more.items():
        if len(values) == _SIZES.get(key[0]):
            known = counts.setdefault(key, [0.0] * len(values))
            known[:] = [old + new for old, new in zip(known, values, strict=True)]


class Metrics:
    """Of one process. Safe to call from any thread; each call takes the lock once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, list[float]] = {}
        self._gauges: dict[Key, Callable[[], float]] = {}
        self.watch({meters.PROCESSES: lambda: 1, meters.RESIDENT: _resident_bytes})
        for meter in meters.METERS:
            if meter.kind is Kind.COUNTER:
                for labels in meter.known:
                    self._add(meter, 0, *labels)

    def watch(self, gauges: Mapping[Meter, Callable[[], float]]) -> None:
        """Each is read whenever somebody asks."""
        with self._lock:
            self._gauges |= {(meter.name, ()): read for meter, read in gauges.items()}

    def images_recorded(
        self,
        results: Iterable[ImageResult],
        timings: Iterable[Timings],
        *,
        store_seconds: float,
        record_seconds: float,
    ) -> None:
        """One batch, once it can be lost no more; `timings` are those of the images made anew."""
        now = time.monotonic()
        with self._lock:
            for result in results:
                self._count_image(result)
            for one in timings:
                self._observe(meters.STAGES, one.fetch_seconds, "fetch")
                self._observe(meters.STAGES, one.wait_seconds, "wait")
                self._observe(meters.STAGES, one.compress_seconds, "compress")
                self._observe(meters.STAGES, now - one.began_at, "image")
            self._observe(meters.STAGES, store_seconds, "store")
            self._observe(meters.STAGES, record_seconds, "record")

    def images_cancelled(self, count: int) -> None:
        with self._lock:
            self._add(meters.IMAGES, count, "cancelled", "cancelled")

    def request_ended(self, batch: Batch, status: BatchStatus) -> None:
        began_at = batch.started_at if batch.round else batch.created_at
        with self._lock:
            self._add(meters.REQUESTS_ENDED, 1, status.value)
            if began_at is not None:
                seconds = (datetime.now(UTC) - began_at).total_seconds()
                self._observe(meters.REQUEST_SECONDS, max(0.0, seconds))

    def webhook_tried(self, webhook: Webhook) -> None:
        """As it is after the try."""
        outcome = "no_answer" if webhook.last_status is None else "refused"
        if webhook.state is WebhookState.DELIVERED:
            outcome = "delivered"
        with self._lock:
            self._add(meters.WEBHOOK_TRIES, 1, outcome, webhook.state.value)

    def http_expected(self, method: str, route: str) -> None:
        """There is such a route; what alerts look for is told of it from the start."""
        with self._lock:
            for status in ("500", "503"):
                self._add(meters.HTTP_REQUESTS, 0, method, route, status)

    def http_answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """`method` and `route` are one of few: a caller must not be able to make up new ones."""
        with self._lock:
            self._add(meters.HTTP_REQUESTS, 1, method, route, str(status))
            self._observe(meters.HTTP_SECONDS, seconds, method, route)

    def adopt(self, counts: Mapping[Key, list[float]]) -> None:
        """What a process that has ended had counted; so that no sum ever falls."""
        with self._lock:
            add_counts(self._counts, counts)

    def snapshot(self) -> Snapshot:
        with self._lock:
            counts = {key: list(values) for key, values in self._counts.items()}
            gauges = dict(self._gauges)
        return Snapshot(counts, {key: read() for key, read in gauges.items()})

    def _count_image(self, result: ImageResult) -> None:
        code = result.error.code if result.error else ""
        self._add(meters.IMAGES, 1, result.status.value, code)
        if result.reused:
            self._add(meters.REUSED, 1)
        else:  # whose bytes nobody has sent
            self._add(meters.BYTES_IN, result.bytes_in)
            self._add(meters.BYTES_OUT, result.bytes_out)
            if result.kept_original:
                self._add(meters.KEPT, 1)

    def _add(self, meter: Meter, amount: float, *labels: str) -> None:
        self._counts.setdefault((meter.name, labels), [0.0])[0] += amount

    def _observe(self, meter: Meter, value: float, *labels: str) -> None:
        key = (meter.name, labels)
        values = self._counts.get(key)
        if values is None:
            values = self._counts[key] = [0.0] * meter.size
        values[bisect_left(meter.bounds, value)] += 1
        values[-1] += value


def _resident_bytes() -> float:
    """proc(5), statm: the second number, in pages; 0 where there is no such file."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
