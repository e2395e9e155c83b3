"""Documents to dataclasses and back; the only place where both shapes are known."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from app.models import (
    PENDING,
    Batch,
    BatchOptions,
    BatchStatus,
    Counts,
    Earlier,
    IdempotencyKey,
    Image,
    ImageError,
    ImageResult,
    ImageStatus,
    OutputFormat,
    Product,
    RetryScope,
    Row,
    Segment,
    Source,
    Webhook,
    WebhookEvents,
    WebhookState,
)

Document = dict[str, Any]

NO_COUNTS = asdict(Counts())


def document_of_row(request_id: str, row: Row) -> Document:
    """A product, every image pending. `images.path` holds storage keys, `output_urls` full URLs."""
    return {
        "request_id": request_id,
        "row": row.number,
        "serial_number": row.serial_number,
        "product_name": row.product_name,
        "input_urls": [slot.url for slot in row.urls],
        "output_urls": [None] * len(row.urls),
        "images": [
            {"url": slot.url, "column": slot.column, "status": "pending"} for slot in row.urls
        ],
    }


def product_of(document: Mapping[str, Any]) -> Product:
    """A product; the pending images of a claimed row are shown as processing."""
    is_claimed = document.get("fence") is not None
    return Product(
        document["row"],
        tuple(
            Image(image["url"], image["column"], _result_of(image, is_claimed))
            for image in document["images"]
        ),
    )


def _result_of(image: Mapping[str, Any], is_claimed: bool) -> ImageResult:
    if image["status"] == "pending":
        return ImageResult(ImageStatus.PROCESSING) if is_claimed else PENDING
    return result_of(image)


def document_of_result(result: ImageResult) -> Document:
    error = result.error
    return {
        "status": result.status.value,
        "path": result.path,
        "bytes_in": result.bytes_in,
        "bytes_out": result.bytes_out,
        "kept_original": result.kept_original,
        "error": error
        and {"code": error.code, "message": error.message, "permanent": error.permanent},
    } | ({"reused": True} if result.reused else {})


def result_of(document: Mapping[str, Any]) -> ImageResult:
    error = document["error"]
    return ImageResult(
        ImageStatus(document["status"]),
        document["path"],
        document["bytes_in"],
        document["bytes_out"],
        document["kept_original"],
        error and ImageError(error["code"], error["message"], error["permanent"]),
        document.get("reused", False),
    )


def document_of_source(source: Source, key: bytes) -> Document:
    """`key` is what a later request looks it up by."""
    return {
        "key": key,
        "at": datetime.now(UTC),
        "etag": source.etag,
        "last_modified": source.last_modified,
        "place": source.place,
        "digest": source.digest,
    }


def earlier_of(document: Mapping[str, Any]) -> Earlier:
    source = document["source"]
    return Earlier(
        result_of(document["result"]),
        Source(source["etag"], source["last_modified"], source["place"], source["digest"]),
    )


def document_of_batch(batch: Batch) -> Document:
    options = asdict(batch.options)
    options["format"] = batch.options.format.value
    options["image_columns"] = list(batch.options.image_columns)
    return {
        "request_id": batch.request_id,
        "owner": batch.owner,
        "status": batch.status.value,
        "created_at": batch.created_at,
        "completed_at": None,
        "started_at": None,
        "filename": batch.filename,
        "upload_path": batch.upload_path,
        "output_csv_path": None,
        "output_base_url": None,
        "options": options,
        "total": batch.total,
        "rows": batch.rows,
        "webhook_url": batch.webhook_url,
        "webhook": None,
        "error": None,
        "idempotency": batch.idempotency and asdict(batch.idempotency),
        "webhook_events": batch.webhook_events.value,
        "round": batch.round,
    }


def batch_of(document: Mapping[str, Any]) -> Batch:
    options = dict(document["options"])
    options["format"] = OutputFormat(options["format"])
    options["image_columns"] = tuple(options["image_columns"])
    return Batch(
        request_id=document["request_id"],
        owner=document["owner"],
        status=BatchStatus(document["status"]),
        created_at=document["created_at"],
        started_at=document["started_at"],
        completed_at=document["completed_at"],
        filename=document["filename"],
        upload_path=document["upload_path"],
        output_csv_path=document["output_csv_path"],
        output_base_url=document["output_base_url"],
        options=BatchOptions(**options),
        total=document["total"],
        rows=document["rows"],
        webhook_url=document["webhook_url"],
        webhook=webhook_of(document) if document["webhook"] else None,
        error=document["error"],
        idempotency=idempotency_of(document),
        webhook_events=WebhookEvents(document.get("webhook_events", "end")),
        is_cancelling=bool(document.get("cancelling")),
        round=document.get("round", 0),
        reopening=RetryScope(document["reopening"]) if document.get("reopening") else None,
        done_before=document.get("done_before", 0),
        told_percent=document.get("told_percent"),
        counts=Counts(**document["counts"]) if document.get("counts") else None,
    )


def idempotency_of(document: Mapping[str, Any]) -> IdempotencyKey | None:
    found = document["idempotency"]
    return IdempotencyKey(found["key"], found["fingerprint"]) if found else None


def put_webhook(webhook: Webhook | None) -> Document:
    """An aggregation expression: a new event in the place of the request's earlier one.

    While a try of the earlier one is under way the new one waits for its end, or for the moment
    from which it counts as dead: no receiver shall hear of the end first and of a quarter after it.
    """
    if webhook is None:
        return {"$literal": None}
    event = {
        "id": webhook.id,
        "host": webhook.host,
        "body": webhook.body,
        "state": webhook.state.value,
        "attempts": webhook.attempts,
        "claim": 0,
        "next_attempt_at": webhook.next_attempt_at,
        "last_status": webhook.last_status,
    }
    inherited = {"$ifNull": ["$webhook.waits_for", None]}
    ours = {"id": "$webhook.id", "claim": "$webhook.claim"}
    waits_for = {"$cond": [{"$eq": ["$webhook.under_way", True]}, ours, inherited]}
    wait = {"next_attempt_at": "$webhook.next_attempt_at", "waits_for": waits_for}
    return {
        "$mergeObjects": [
            {"$literal": event},
            {"$cond": [{"$eq": [waits_for, None]}, {}, wait]},
        ]
    }


def in_round(number: int) -> Document:
    """A filter; documents of before there were retries have no number."""
    return {"round": number or {"$in": [0, None]}}


def before_round(number: int) -> Document:
    """A filter, likewise."""
    return {"round": {"$not": {"$gte": number}}}


def webhook_of(document: Mapping[str, Any]) -> Webhook:
    webhook = document["webhook"]
    return Webhook(
        request_id=document["request_id"],
        url=document["webhook_url"],
        id=webhook["id"],
        body=webhook["body"],
        state=WebhookState(webhook["state"]),
        attempts=webhook["attempts"],
        next_attempt_at=webhook["next_attempt_at"],
        last_status=webhook["last_status"],
        claim=webhook["claim"],
    )


def segment_of(document: Mapping[str, Any]) -> Segment:
    return Segment(
        document["_id"],
        document["request_id"],
        document["first_row"],
        document["last_row"],
        document["token"],
        document["fruitless_claims"],
        document.get("round", 0),
    )
