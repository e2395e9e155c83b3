"""The API's JSON bodies as types: `bodies` makes them, `openapi` describes them.

mypy holds what is made against what is described here, so neither can change alone. The examples
stand at the fields, and the examples of whole bodies are put together from them.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from app.models import (
    BatchStatus,
    ErrorCode,
    FaultCode,
    ImageStatus,
    OutputFormat,
    WebhookEvents,
    WebhookState,
)

_ID = "87e98b85-f610-402c-bfa8-e40237c328fb"

RequestId = Annotated[str, Field(examples=[_ID], json_schema_extra={"format": "uuid"})]
Time = Annotated[
    str, Field(examples=["2026-01-31T10:00:00.000Z"], json_schema_extra={"format": "date-time"})
]
Number = Annotated[int, Field(ge=0)]
OutputCsvUrl = Annotated[str, Field(description="only when completed or cancelled")]


class FaultBody(TypedDict):
    """One thing wrong with one place of the uploaded file."""

    row: Annotated[int, Field(description="of the data, from 1", examples=[4])]
    line: Annotated[int, Field(description="of the text, from 1", examples=[5])]
    column: Annotated[str, Field(examples=["Images"])]
    code: FaultCode
    message: Annotated[
        str, Field(examples=["'a.jpg' is a relative path: write a whole URL (https://…)"])
    ]


class Error(TypedDict):
    """What every error is told with."""

    error: Annotated[str, Field(description="one sentence that a person can act on")]
    faults: NotRequired[Annotated[Number, Field(description="how many there are", examples=[1])]]
    details: NotRequired[Annotated[list[FaultBody], Field(description="the first 1,000 of them")]]


class Accepted(TypedDict):
    request_id: RequestId
    status: BatchStatus
    status_url: Annotated[str, Field(examples=[f"/status/{_ID}"])]


class Report(TypedDict):
    """What a dry run has found; nothing is stored."""

    dry_run: Literal[True]
    rows: Annotated[Number, Field(examples=[49])]
    images: Annotated[Number, Field(examples=[116])]
    columns: Annotated[
        dict[str, list[str]],
        Field(description="headers by meaning", examples=[{"images": ["Input Image Urls"]}]),
    ]
    faults: Annotated[Number, Field(examples=[1])]
    details: list[FaultBody]


class Options(TypedDict):
    """Quality and format always, the others when they were asked for."""

    quality: Annotated[int, Field(examples=[50])]
    format: OutputFormat
    max_width: NotRequired[int]
    max_height: NotRequired[int]
    image_column: NotRequired[list[str]]
    base_url: NotRequired[str]
    webhook_events: NotRequired[WebhookEvents]


class Progress(TypedDict):
    """Counts URL slots."""

    total: Annotated[Number, Field(examples=[600])]
    completed: Annotated[Number, Field(examples=[311])]
    failed: Annotated[Number, Field(examples=[2])]
    cancelled: Annotated[Number, Field(examples=[0])]
    remaining: Annotated[Number, Field(examples=[287])]
    reused: Annotated[
        Number, Field(description="of the completed: taken from an earlier request", examples=[0])
    ]
    percent: Annotated[
        float, Field(ge=0, le=100, description="100 only when none remains", examples=[52.2])
    ]
    images_per_second: Annotated[float, Field(ge=0, examples=[88.1])]
    eta_seconds: Annotated[float | None, Field(ge=0, examples=[3.3])]
    bytes_in: Annotated[Number, Field(examples=[91_000_000])]
    bytes_out: Annotated[Number, Field(examples=[30_100_000])]


class WebhookBody(TypedDict):
    """What became of the request's webhook."""

    state: WebhookState
    attempts: Number
    next_attempt_at: Annotated[Time | None, Field(examples=[None])]
    last_status: Annotated[int | None, Field(description="of the last answer", examples=[None])]


class ImageErrorBody(TypedDict):
    code: ErrorCode | Annotated[str, Field(pattern="^http_[0-9]{3}$")]
    message: str
    permanent: Annotated[bool, Field(description="trying again cannot help")]


class ImageBody(TypedDict):
    """What became of the image of one URL."""

    status: ImageStatus
    column: Annotated[str, Field(description="its header in the file")]
    path: Annotated[str | None, Field(description="where it is stored")]
    output_url: str | None
    bytes_in: Annotated[int | None, Field(ge=0)]
    bytes_out: Annotated[int | None, Field(ge=0)]
    kept_original: Annotated[bool, Field(description="it could not be made smaller")]
    error: ImageErrorBody | None


_IMAGE: ImageBody = {
    "status": ImageStatus.COMPLETED,
    "column": "Images",
    "path": f"processed/{_ID}/1-1-a-9f2c41d07ab3.jpg",
    "output_url": f"http://127.0.0.1:8000/processed/{_ID}/1-1-a-9f2c41d07ab3.jpg",
    "bytes_in": 400_123,
    "bytes_out": 120_456,
    "kept_original": False,
    "error": None,
}


class Head(TypedDict):
    """What every account of a request begins with."""

    request_id: RequestId
    status: BatchStatus
    queued: Annotated[bool, Field(description="no work has begun yet", examples=[False])]
    error: Annotated[
        str | None, Field(description="why the request itself failed", examples=[None])
    ]
    filename: Annotated[str, Field(examples=["catalog.csv"])]
    created_at: Time
    completed_at: Annotated[Time | None, Field(examples=[None])]
    options: Options
    progress: Progress
    output_csv_url: NotRequired[OutputCsvUrl]


class Status(Head):
    """The status document, with a page of images in order of row and position."""

    output_csv: NotRequired[Annotated[str | None, Field(description="where it is stored")]]
    webhook: WebhookBody
    images: NotRequired[
        Annotated[
            dict[str, ImageBody],
            Field(
                description="by URL; left out with images=none",
                examples=[{"https://shop.example/a.jpg": _IMAGE}],
            ),
        ]
    ]
    next: NotRequired[Annotated[str, Field(description="the next page, when more follow")]]


class Summary(Head):
    """A request's entry in the list."""

    bytes_stored: Annotated[
        Number, Field(description="by its compressed images", examples=[30_100_000])
    ]
    webhook: WebhookBody


class RequestsPage(TypedDict):
    requests: list[Summary]
    next: Annotated[str | None, Field(description="the next page", examples=[None])]


class Event(TypedDict):
    """What POST /webhook needs of a body; whatever else is in it is kept."""

    request_id: Annotated[str, Field(examples=[_ID])]
    status: Annotated[str, Field(examples=[BatchStatus.COMPLETED])]


class EventBody(TypedDict):
    """A webhook as it was received."""

    id: Annotated[str, Field(examples=["msg_0cf4a21d3ba94a7f8e3c9be0f4cf4b64"])]
    received_at: Time
    payload: Annotated[
        dict[str, Any], Field(examples=[{"request_id": _ID, "status": BatchStatus.COMPLETED}])
    ]


class EventsPage(TypedDict):
    events: list[EventBody]
    next: Annotated[str | None, Field(description="the next page", examples=[None])]


class Received(TypedDict):
    status: Literal["received"]


class Alive(TypedDict):
    status: Literal["ok"]


class Readiness(TypedDict):
    ready: bool
    error: NotRequired[Annotated[str, Field(description="what is missing")]]
    checks: Annotated[
        dict[str, str],
        Field(description="what was looked at: ok, or what is wrong", examples=[{"disk": "ok"}]),
    ]


class WebhookProgress(TypedDict):
    total: Annotated[Number, Field(examples=[600])]
    completed: Annotated[Number, Field(examples=[598])]
    failed: Annotated[Number, Field(examples=[2])]
    cancelled: Annotated[Number, Field(examples=[0])]
    bytes_in: Annotated[Number, Field(examples=[91_000_000])]
    bytes_out: Annotated[Number, Field(examples=[30_100_000])]


class WebhookPayload(TypedDict):
    """What `webhook_url` is sent; the same on every try of one event."""

    type: Annotated[
        str, Field(pattern=r"^request\.[a-z]+$", examples=[f"request.{BatchStatus.COMPLETED}"])
    ]
    timestamp: Time
    request_id: RequestId
    status: Annotated[BatchStatus, Field(examples=[BatchStatus.COMPLETED])]
    output_csv_url: Annotated[str | None, Field(examples=[f"http://127.0.0.1:8000/download/{_ID}"])]
    filename: Annotated[str, Field(examples=["catalog.csv"])]
    progress: WebhookProgress


class SavingBody(TypedDict):
    """A row's completed images together."""

    row: Annotated[int, Field(examples=[4])]
    serial_number: Annotated[str, Field(examples=["SKU-4"])]
    product_name: Annotated[str, Field(examples=["Cat basket"])]
    images: Annotated[Number, Field(examples=[3])]
    bytes_in: Annotated[Number, Field(examples=[1_200_000])]
    bytes_out: Annotated[Number, Field(examples=[401_000])]


class Savings(TypedDict):
    rows: Annotated[Number, Field(description="looked at, the first of them", examples=[49])]
    all_rows: Annotated[Number, Field(examples=[49])]
    products: list[SavingBody]
