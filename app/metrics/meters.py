"""The names under which `GET /metrics` tells what happens: `docs/operations.md` shows their use.

A unit stands in every name that has one; a counter's ends in `_total`.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Meter:
    """What is measured; `bounds` are the upper ends of a histogram's buckets, rising.

    `known` are labels of a counter that are told from the start, as 0: Prometheus does not see the
    rise of what is new.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ((),)

    @property
    def size(self) -> int:
        """How many numbers are kept of it: see `Snapshot`."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1


_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_LONG = (0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1_800, 3_600, 10_800, 43_200)

IMAGES = Meter(
    "pressroom_images_total",
    Kind.COUNTER,
    "Images dealt with, a URL that repeats in a segment once; code is empty for completed ones.",
    ("result", "code"),
    known=(("completed", ""), ("cancelled", "cancelled")),
)
REUSED = Meter(
    "pressroom_images_reused_total",
    Kind.COUNTER,
    "Of the completed images, those copied from an earlier request.",
)
KEPT = Meter(
    "pressroom_images_kept_total",
    Kind.COUNTER,
    "Of the completed images, those whose coded picture was kept, as it was small already.",
)
BYTES_IN = Meter(
    "pressroom_bytes_in_total", Kind.COUNTER, "Bytes of the images fetched and completed."
)
BYTES_OUT = Meter(
    "pressroom_bytes_out_total", Kind.COUNTER, "Bytes of the compressed images made of them."
)
STAGES = Meter(
    "pressroom_stage_seconds",
    Kind.HISTOGRAM,
    "Seconds of a completed image: fetch (its last try), wait (for a coder), compress, image (from "
    "its first try until it is recorded); and of a batch of up to 100: store, record.",
    ("stage",),
    _QUICK,
)
REQUESTS_ENDED = Meter(
    "pressroom_requests_ended_total",
    Kind.COUNTER,
    "Requests that came to their end.",
    ("status",),
    known=(("completed",), ("failed",), ("cancelled",)),
)
REQUEST_SECONDS = Meter(
    "pressroom_request_seconds",
    Kind.HISTOGRAM,
    "Seconds from a request's upload to its end; of one that was retried, from the retry's start.",
    (),
    _LONG,
)
WEBHOOK_TRIES = Meter(
    "pressroom_webhook_tries_total",
    Kind.COUNTER,
    "Tries to deliver a webhook: delivered, refused or no_answer; and its state since.",
    ("outcome", "state"),
    known=(
        ("delivered", "delivered"),
        ("refused", "pending"),
        ("refused", "failed"),
        ("no_answer", "pending"),
        ("no_answer", "failed"),
    ),
)
HTTP_REQUESTS = Meter(
    "pressroom_http_requests_total",
    Kind.COUNTER,
    "HTTP requests that the application has answered.",
    ("method", "route", "status"),
    known=(),
)
HTTP_SECONDS = Meter(
    "pressroom_http_request_seconds",
    Kind.HISTOGRAM,
    "Seconds until the reply to an HTTP request began; what it waits for counts, sending does not.",
    ("method", "route"),
    _QUICK,
)

FETCHES = Meter("pressroom_fetches_in_flight", Kind.GAUGE, "Images being fetched.")
FETCHES_LIMIT = Meter("pressroom_fetches_limit", Kind.GAUGE, "… at most: DOWNLOAD_WORKERS.")
CODERS = Meter("pressroom_coders_busy", Kind.GAUGE, "Threads that code an image.")
CODERS_LIMIT = Meter("pressroom_coders_limit", Kind.GAUGE, "… at most: COMPRESS_WORKERS.")
MEMORY = Meter("pressroom_image_memory_bytes", Kind.GAUGE, "Memory lent to images in flight.")
MEMORY_LIMIT = Meter("pressroom_image_memory_limit_bytes", Kind.GAUGE, "… at most.")
PIXELS = Meter("pressroom_pixels_lent", Kind.GAUGE, "Pixels lent to images being coded.")
PIXELS_LIMIT = Meter("pressroom_pixels_limit", Kind.GAUGE, "… at most.")
PROCESSES = Meter("pressroom_processes", Kind.GAUGE, "Processes of the service on this machine.")
RESIDENT = Meter(
    "pressroom_resident_memory_bytes",
    Kind.GAUGE,
    "Memory of these processes, the private MongoDB server's not among it.",
)

DATABASE_UP = Meter(
    "pressroom_database_up",
    Kind.GAUGE,
    "1 if the database answers; what it knows is left out while it does not, or is slow.",
)
REQUESTS = Meter(
    "pressroom_requests",
    Kind.GAUGE,
    "Requests in the database: queued, processing (begun), completed, failed or cancelled.",
    ("state",),
)
SEGMENTS = Meter(
    "pressroom_pending_segments",
    Kind.GAUGE,
    "Runs of 100 rows that are still to be worked off: waiting, or claimed by a process.",
    ("state",),
)
PENDING_IMAGES = Meter(
    "pressroom_pending_images", Kind.GAUGE, "URL slots that are still to be dealt with."
)
PENDING_WEBHOOKS = Meter(
    "pressroom_pending_webhooks", Kind.GAUGE, "Webhooks that are due, or wait for their next try."
)
BUILD = Meter("pressroom_build_info", Kind.GAUGE, "Always 1; the version.", ("version",))

METERS = (
    IMAGES,
    REUSED,
    KEPT,
    BYTES_IN,
    BYTES_OUT,
    STAGES,
    REQUESTS_ENDED,
    REQUEST_SECONDS,
    WEBHOOK_TRIES,
    HTTP_REQUESTS,
    HTTP_SECONDS,
    FETCHES,
    FETCHES_LIMIT,
    CODERS,
    CODERS_LIMIT,
    MEMORY,
    MEMORY_LIMIT,
    PIXELS,
    PIXELS_LIMIT,
    PROCESSES,
    RESIDENT,
    DATABASE_UP,
    REQUESTS,
    SEGMENTS,
    PENDING_IMAGES,
    PENDING_WEBHOOKS,
    BUILD,
)
