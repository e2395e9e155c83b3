"""What the API says of a request, as JSON bodies; the contract's section 1 fixes every name.

`replies` has their types, which `/openapi.json` is made from.
"""

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, cast
from urllib.parse import urlencode

from app.api.replies import (
    Accepted,
    FaultBody,
    Head,
    ImageBody,
    ImageErrorBody,
    Options,
    Progress,
    Status,
    Summary,
    WebhookBody,
)
from app.database.products import Slot
from app.errors import BadRequest
from app.exports import Exports
from app.models import (
    Batch,
    BatchStatus,
    Counts,
    Fault,
    ImageError,
    ImageStatus,
    Place,
    WebhookEvents,
    WebhookState,
)
from app.services import Services
from app.webhooks import format_time

_HAS_OUTPUT = (BatchStatus.COMPLETED, BatchStatus.CANCELLED)
BAD_CURSOR = "cursor: that is none of ours; take it from the next of the page before"
_CURSOR = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})", re.ASCII)


def accepted_body(request_id: str, status: BatchStatus = BatchStatus.PROCESSING) -> Accepted:
    return {
        "request_id": request_id,
        "status": status,
        "status_url": f"/status/{request_id}",
    }


def fault_bodies(faults: Iterable[Fault]) -> list[FaultBody]:
    return [
        {
            "row": fault.row,
            "line": fault.line,
            "column": fault.column,
            "code": fault.code,
            "message": fault.message,
        }
        for fault in faults
    ]


def status_body(
    services: Services,
    batch: Batch,
    *,
    images: ImageStatus | Literal["none"] | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Status:
    """The status document, with a page of images in order of row and position.

    `images` filters them or leaves them out, `cursor` continues. Raises BadRequest for a cursor
    that is none.
    """
    counts = services.database.segments.sum_counts(batch.request_id)
    body = cast(Status, _head(batch, counts))
    if batch.status in _HAS_OUTPUT:
        body["output_csv"] = batch.output_csv_path
    body["webhook"] = _webhook(batch)
    if images == "none":
        return body
    page, has_more = services.database.products.page(
        batch.request_id, after=_place(cursor), limit=limit, status=images
    )
    body["images"] = _images(page, services.exports)
    if has_more:
        filters = {"limit": limit, "images": images}
        cursor = _cursor((page[-1].row, page[-1].position))
        body["next"] = next_url(f"/status/{batch.request_id}", cursor, **filters)
    return body


def summary_body(batch: Batch, counts: Counts) -> Summary:
    """A request's entry in the list: the head of its status document, and what it stores.

    `bytes_stored` counts each compressed image's file once, without upload and output CSV.
    """
    return {
        **_head(batch, counts),
        "bytes_stored": counts.bytes_stored,
        "webhook": _webhook(batch),
    }


def next_url(path: str, cursor: str, **parameters: object) -> str:
    """Where the next page is, with the parameters that were given."""
    given = {name: str(value) for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode({'cursor': cursor} | given)}"


def _head(batch: Batch, counts: Counts) -> Head:
    head: Head = {
        "request_id": batch.request_id,
        "status": batch.status,
        "queued": batch.status is BatchStatus.PROCESSING and batch.started_at is None,
        "error": batch.error,
        "filename": batch.filename,
        "created_at": format_time(batch.created_at),
        "completed_at": _time(batch.completed_at),
        "options": _options(batch),
        "progress": _progress(batch, counts, datetime.now(UTC)),
    }
    if batch.status in _HAS_OUTPUT:
        head["output_csv_url"] = f"/download/{batch.request_id}"
    return head


def _options(batch: Batch) -> Options:
    """Quality and format always, the others when asked for; named as the form's fields."""
    options = batch.options
    shown: Options = {"quality": options.quality, "format": options.format}
    if options.max_width:
        shown["max_width"] = options.max_width
    if options.max_height:
        shown["max_height"] = options.max_height
    if options.image_columns:
        shown["image_column"] = list(options.image_columns)
    if options.base_url:
        shown["base_url"] = options.base_url
    if batch.webhook_events is not WebhookEvents.END:
        shown["webhook_events"] = batch.webhook_events
    return shown


def _progress(batch: Batch, counts: Counts, now: datetime) -> Progress:
    remaining = batch.total - counts.done
    rate = _images_per_second(batch, counts, now)
    is_running = batch.status is BatchStatus.PROCESSING
    return {
        "total": batch.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "remaining": remaining,
        "reused": counts.reused,
        "percent": _percent(counts.done, batch.total),
        "images_per_second": round(rate, 1),
        "eta_seconds": round(remaining / rate, 1) if is_running and rate else None,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
    }


def _percent(done: int, total: int) -> float:
    """One decimal; 100 only when nothing remains."""
    if done >= total:
        return 100.0
    return min(round(100 * done / total, 1), 99.9)


def _images_per_second(batch: Batch, counts: Counts, now: datetime) -> float:
    if batch.started_at is None:
        return 0.0
    seconds = ((batch.completed_at or now) - batch.started_at).total_seconds()
    worked_on = max(0, counts.completed + counts.failed - batch.done_before)
    return worked_on / seconds if seconds > 0 else 0.0


def _webhook(batch: Batch) -> WebhookBody:
    """A webhook that was asked for is pending until the end brings its event."""
    webhook = batch.webhook
    if webhook is None:
        state = WebhookState.PENDING if batch.webhook_url else WebhookState.NONE
        return {"state": state, "attempts": 0, "next_attempt_at": None, "last_status": None}
    return {
        "state": webhook.state,
        "attempts": webhook.attempts,
        "next_attempt_at": _time(webhook.next_attempt_at),
        "last_status": webhook.last_status,
    }


def _images(page: Iterable[Slot], exports: Exports) -> dict[str, ImageBody]:
    """By URL; of one that repeats on the page, the first slot."""
    images: dict[str, ImageBody] = {}
    for slot in page:
        images.setdefault(slot.image.url, _image(slot, exports))
    return images


def _image(slot: Slot, exports: Exports) -> ImageBody:
    result = slot.image.result
    return {
        "status": result.status,
        "column": slot.image.column,
        "path": result.path,
        "output_url": result.path and exports.link(result.path),
        "bytes_in": result.bytes_in or None,
        "bytes_out": result.bytes_out or None,
        "kept_original": result.kept_original,
        "error": _error(result.error),
    }


def _error(error: ImageError | None) -> ImageErrorBody | None:
    if error is None:
        return None
    return {"code": error.code, "message": error.message, "permanent": error.permanent}


def _time(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode("{}.{}".format(*place).encode()).decode().rstrip("=")


def _place(cursor: str | None) -> Place:
    """The row and position that a page ended with. Raises BadRequest."""
    if cursor is None:
        return 0, 0
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    match = _CURSOR.fullmatch(text)
    place = (int(match[1]), int(match[2])) if match else None
    if place is None or _cursor(place) != cursor:
        raise BadRequest(BAD_CURSOR)
    return place
