"""What travels between the modules, as frozen dataclasses; and the words of the API as enums.

A *batch* is what the API and the database call a request (Flask owns that word). It has
*products*, one a row of the uploaded file; a product has *images*, one a URL slot. A *segment* is
a run of rows that one worker takes at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

Place = tuple[int, int]
"""A URL slot: row and position, both from 1."""


class BatchStatus(StrEnum):
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ImageStatus(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RowStatus(StrEnum):
    """What the output CSV says of a row."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NO_IMAGE = "no_image"
    INVALID = "invalid"
    PENDING = "pending"


class WebhookState(StrEnum):
    NONE = "none"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookEvents(StrEnum):
    """What the caller wants to be told of: the end, or the start and each quarter as well."""

    END = "end"
    ALL = "all"


class RetryScope(StrEnum):
    """Which images run again: all that failed or were cancelled, or those that may heal."""

    ALL = "all"
    TRANSIENT = "transient"


class OutputFormat(StrEnum):
    AUTO = "auto"
    JPEG = "jpeg"
    WEBP = "webp"
    AVIF = "avif"
    PNG = "png"
    KEEP = "keep"
    CLASSIC = "classic"


class FaultCode(StrEnum):
    """Why a row of the uploaded file is not processed."""

    BAD_URL = "bad_url"
    EXTRA_CELLS = "extra_cells"
    TOO_MANY_URLS = "too_many_urls"
    CELL_TOO_LONG = "cell_too_long"


class ErrorCode(StrEnum):
    """Why an image is not there; HTTP statuses above 299 are `http_<status>` beside these."""

    DNS = "dns"
    CONNECT = "connect"
    TLS_EXPIRED = "tls_expired"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_HOST = "tls_host"
    TIMEOUT = "timeout"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    FORBIDDEN_ADDRESS = "forbidden_address"
    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TRUNCATED = "truncated"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_FRAMES = "too_many_frames"
    DECODE_FAILED = "decode_failed"
    POISON = "poison"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one place of the uploaded file.

    `row` counts data rows, `line` the lines of the text, both from 1.
    """

    row: int
    line: int
    column: str
    code: FaultCode
    message: str


class ImageUrl(NamedTuple):
    """One URL slot of a row: the URL as written in the file, and the header it stands under.

    Like `Row` a tuple and no dataclass, which takes three times as long to make, a million times.
    """

    url: str
    column: str


class Row(NamedTuple):
    """One data row of the uploaded file; its number counts non-blank rows from 1.

    A row with faults has no `urls`: it is reported, not processed.
    """

    number: int
    line: int
    cells: tuple[str, ...]
    serial_number: str
    product_name: str
    urls: tuple[ImageUrl, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageError:
    code: str
    message: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image; `path` is a storage key and only there when completed.

    `reused`: made for an earlier request from the same source; `bytes_in` is that source's size.
    """

    status: ImageStatus
    path: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    kept_original: bool = False
    error: ImageError | None = None
    reused: bool = False

    def is_named_by(self, place: Place) -> bool:
        """Whether its file was made for that slot, and not copied from another with its URL."""
        name = self.path.rpartition("/")[2] if self.path else ""
        return name.startswith("{}-{}-".format(*place))


@dataclass(frozen=True, slots=True)
class Timings:
    """How long the stages of an image took; `began_at` is its first try's, as `time.monotonic()`.

    `wait_seconds` is the time between the last byte and a free coder.
    """

    fetch_seconds: float
    wait_seconds: float
    compress_seconds: float
    began_at: float


@dataclass(frozen=True, slots=True)
class Load:
    """What there is, and what is still to be done, of everybody and in all processes.

    `requests` by state, a running one being `queued` until its work begins; `segments` by state.
    """

    requests: Mapping[str, int]
    segments: Mapping[str, int]
    pending_images: int
    pending_webhooks: int


SEGMENT_ROWS = 100
"""Of a segment, unless its rows have so many images that it ends before."""

SHEET_NAME = "sheet"
"""What the stored file is called when a workbook was uploaded."""

PENDING = ImageResult(ImageStatus.PENDING)


@dataclass(frozen=True, slots=True)
class Source:
    """By what a host tells whether an image has changed (RFC 9110, 8.8), and where it was found.

    `place` is a digest of the URL behind the redirects. `digest` is that of the bytes, which is
    taken only where the host does not answer to the others.
    """

    etag: str | None
    last_modified: str | None
    place: bytes
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier request has made of a URL for the same owner and options, and from what."""

    result: ImageResult
    source: Source


@dataclass(frozen=True, slots=True)
class Image:
    """One slot of a product: where the picture comes from and what became of it."""

    url: str
    column: str
    result: ImageResult = PENDING


@dataclass(frozen=True, slots=True)
class Product:
    """One row as the database has it; rows without a URL and rows with faults have no images."""

    row: int
    images: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What the caller asked for, with the service's defaults filled in."""

    quality: int = 50
    format: OutputFormat = OutputFormat.AUTO
    max_width: int | None = None
    max_height: int | None = None
    image_columns: tuple[str, ...] = ()
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Tells of a batch's end or of its progress; id and body are the same on every try.

    `claim` rises with every try and every redelivery, so that a late record is told from the last.
    """

    request_id: str
    url: str
    id: str
    body: str
    state: WebhookState
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_status: int | None = None
    claim: int = 0

    @property
    def host(self) -> str:
        """Host and port: what a dead receiver takes with it."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The caller's name for one upload; the fingerprint tells whether it is the same upload."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One accepted upload. `total` counts URL slots; paths are storage keys.

    `output_base_url` is what the URLs in the stored output CSV begin with. `round` counts
    the retries; while one is `reopening`, there are images left that it has still to put back, and
    `done_before` counts the slots that had succeeded before it. `told_percent` is the last of 0,
    25, 50 and 75 that a webhook has told of in this round. `counts` are those of the end.
    """

    request_id: str
    owner: str
    status: BatchStatus
    created_at: datetime
    filename: str
    upload_path: str
    options: BatchOptions
    total: int
    rows: int
    webhook_url: str | None = None
    webhook: Webhook | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output_csv_path: str | None = None
    output_base_url: str | None = None
    error: str | None = None
    idempotency: IdempotencyKey | None = None
    webhook_events: WebhookEvents = WebhookEvents.END
    is_cancelling: bool = False
    round: int = 0
    reopening: RetryScope | None = None
    done_before: int = 0
    told_percent: int | None = None
    counts: "Counts | None" = None

    @property
    def is_sheet(self) -> bool:
        """Whether the stored upload is a sheet of a workbook, as CSV; its key says so."""
        return self.upload_path.endswith(f"/{SHEET_NAME}")

    @property
    def stem(self) -> str:
        """The uploaded file's name without its ending: what its results are named for."""
        return PurePosixPath(self.filename).stem.lstrip(".")


@dataclass(frozen=True, slots=True)
class Counts:
    """URL slots by what became of them, bytes fetched, and bytes of their compressed images.

    Slots may share a file; `bytes_stored` counts it once, with the slot that its name gives.
    `reused` are among the completed.
    """

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_stored: int = 0
    reused: int = 0

    @property
    def done(self) -> int:
        return self.completed + self.failed + self.cancelled

    @classmethod
    def of(cls, results: Mapping[Place, ImageResult]) -> "Counts":
        """Counts anew, so that counting twice gives the same."""
        completed = failed = cancelled = bytes_in = bytes_out = bytes_stored = reused = 0
        for place, result in results.items():
            completed += result.status is ImageStatus.COMPLETED
            failed += result.status is ImageStatus.FAILED
            cancelled += result.status is ImageStatus.CANCELLED
            bytes_in += result.bytes_in
            bytes_out += result.bytes_out
            bytes_stored += result.bytes_out * result.is_named_by(place)
            reused += result.reused
        return cls(completed, failed, cancelled, bytes_in, bytes_out, bytes_stored, reused)


@dataclass(frozen=True, slots=True)
class Segment:
    """A claimed run of rows; `token` rises with every claim and fences off earlier claims.

    `fruitless_claims` counts claims since the last result, this one included; `round` is that of
    its request when it was last opened.
    """

    id: str
    request_id: str
    first_row: int
    last_row: int
    token: int
    fruitless_claims: int
    round: int = 0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many calls in a period that begins with the first of them."""

    calls: int
    period_seconds: int
