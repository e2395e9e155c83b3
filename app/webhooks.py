"""Webhooks, both ways: what is told of a request's end, and what `POST /webhook` is told.

Sent as Standard Webhooks (standardwebhooks.com): id and body are fixed when the request ends and
kept in its document, every try has a fresh timestamp and signature. A webhook never changes its
request's status. With `webhook_events=all` there are events of its start and of each quarter too;
the document holds one event, so that a later one drops what of an earlier one is not delivered.
"""

import hashlib
import json
import math
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from standardwebhooks.webhooks import Webhook as Signer
from standardwebhooks.webhooks import WebhookVerificationError

from app.database import Database
from app.errors import BadRequest, PressroomError, Unavailable
from app.metrics import Metrics
from app.models import Batch, BatchStatus, Counts, Webhook, WebhookState
from app.outbound import Outbound, PostFailed

TIMEOUT_SECONDS = 15
STOP_SECONDS = 2
WAITS_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
LONGEST_WAIT_SECONDS = 86_400
MAX_BODY_BYTES = 65_536
MAX_BODY_LEVELS = 100
HEADERS = {
    "webhook-id": "the same on every try of one event",
    "webhook-timestamp": "of this try, in seconds since 1970",
    "webhook-signature": "as Standard Webhooks signs",
}
BAD_SIGNATURE = (
    "webhook-id, webhook-timestamp (±5 minutes) and webhook-signature do not fit the body"
)
_GONE = 410
_AT_ONCE = 256
_AT_A_HOST = 4
"""A receiver that does not answer holds a thread for 15 s; it may not hold them all."""

log = structlog.get_logger(__name__)


class BadSignature(PressroomError):
    """What came in is not, or not recently, signed by who knows the secret."""


def event_of(
    batch: Batch, status: BatchStatus, counts: Counts, *, link: Callable[[str], str]
) -> Webhook | None:
    """The event of a batch's end, due at once; None when nobody asked for one."""
    if batch.webhook_url is None:
        return None
    has_output = status is not BatchStatus.FAILED
    output_url = link(f"download/{batch.request_id}") if has_output else None
    return _event(batch, f"request.{status}", status, counts, output_url)


def milestone_event_of(batch: Batch, counts: Counts, percent: int) -> Webhook:
    """The event of a batch that has come so far: 0 is its start. `webhook_url` is given."""
    kind = "request.progress" if percent else "request.started"
    return _event(batch, kind, BatchStatus.PROCESSING, counts, None)


def milestone_of(batch: Batch, counts: Counts) -> int | None:
    """The last of 0, 25, 50 and 75 % of the present round that a running batch has reached.

    None before its start, and when the event of its end is about to come.
    """
    slots = batch.total - batch.done_before
    done = counts.done - batch.done_before
    if batch.started_at is None or batch.reopening or batch.is_cancelling or done >= slots:
        return None
    return max(0, 100 * done // slots // 25 * 25)


def _event(
    batch: Batch, kind: str, status: BatchStatus, counts: Counts, output_url: str | None
) -> Webhook:
    assert batch.webhook_url
    now = datetime.now(UTC)
    body = {
        "type": kind,
        "timestamp": format_time(now),
        "request_id": batch.request_id,
        "status": status.value,
        "output_csv_url": output_url,
        "filename": batch.filename,
        "progress": {
            "total": batch.total,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "bytes_in": counts.bytes_in,
            "bytes_out": counts.bytes_out,
        },
    }
    return Webhook(
        request_id=batch.request_id,
        url=batch.webhook_url,
        id=f"msg_{uuid.uuid4().hex}",
        body=json.dumps(body, ensure_ascii=False),
        state=WebhookState.PENDING,
        next_attempt_at=now,
    )


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond, as everywhere in the API."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sign(secrets: Sequence[str], webhook_id: str, time: datetime, body: str) -> dict[str, str]:
    """The headers of one try; one signature for each secret, so that keys can rotate."""
    headers = {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(time.timestamp())),
    }
    signatures = [Signer(secret).sign(webhook_id, time, body) for secret in secrets]
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})


def after_try(
    webhook: Webhook, status: int | None, retry_after_seconds: float | None, now: datetime
) -> Webhook:
    """The webhook after a try that was answered with `status`, or not at all (None)."""
    if status is not None and 200 <= status < 300:
        return replace(
            webhook, state=WebhookState.DELIVERED, next_attempt_at=None, last_status=status
        )
    if status == _GONE or webhook.attempts > len(WAITS_SECONDS):
        return replace(webhook, state=WebhookState.FAILED, next_attempt_at=None, last_status=status)
    wait_seconds = WAITS_SECONDS[webhook.attempts - 1] * random.uniform(0.9, 1.1)  # noqa: S311
    wait_seconds = max(wait_seconds, min(retry_after_seconds or 0, LONGEST_WAIT_SECONDS))
    return replace(
        webhook, next_attempt_at=now + timedelta(seconds=wait_seconds), last_status=status
    )


class Deliverer:
    """Sends what is due, many at once, so that dead receivers do not delay a live one."""

    def __init__(
        self,
        database: Database,
        outbound: Outbound,
        secrets: Sequence[str],
        own_receiver: str,
        metrics: Metrics,
    ):
        self._database = database
        self._outbound = outbound
        self._secrets = secrets
        self._own_receiver = own_receiver
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")
        self._changed = threading.Condition()
        self._under_way: Counter[str] = Counter()
        self._is_stopped = False

    def deliver_due(self) -> None:
        """Begins to send every webhook whose time has come. Raises DatabaseUnavailable."""
        with self._changed:
            while not self._is_stopped and self._under_way.total() < _AT_ONCE:
                busy = [host for host, tries in self._under_way.items() if tries >= _AT_A_HOST]
                webhook = self._database.batches.claim_webhook(datetime.now(UTC), busy)
                if webhook is None:
                    return
                self._under_way[webhook.host] += 1
                self._pool.submit(self._deliver, webhook)

    def stop(self) -> None:
        """Gives the tries under way a little time; what they leave unrecorded is sent again."""
        with self._changed:
            self._is_stopped = True
            self._changed.wait_for(lambda: not self._under_way.total(), STOP_SECONDS)
        self._pool.shutdown(wait=False)

    def _deliver(self, webhook: Webhook) -> None:
        try:
            tried = self._post(webhook)
            self._metrics.webhook_tried(tried)
            sets_another_free = self._database.batches.record_webhook(tried)
            log.info(
                "webhook tried",
                request_id=webhook.request_id,
                attempt=webhook.attempts,
                http_status=tried.last_status,
                state=tried.state.value,
            )
            if sets_another_free:
                self.deliver_due()
        except Unavailable as error:  # the lease of this try runs out, and it is made again
            log.warning("webhook unrecorded", request_id=webhook.request_id, reason=str(error))
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("webhook failed", request_id=webhook.request_id)
        finally:
            with self._changed:
                self._under_way -= Counter([webhook.host])
                self._changed.notify_all()

    def _post(self, webhook: Webhook) -> Webhook:
        now = datetime.now(UTC)
        headers = sign(self._secrets, webhook.id, now, webhook.body)
        try:
            posted = self._outbound.post(
                webhook.url,
                webhook.body.encode(),
                headers,
                timeout_seconds=TIMEOUT_SECONDS,
                trusted=webhook.url == self._own_receiver,
            )
        except PostFailed:
            return after_try(webhook, None, None, now)
        return after_try(webhook, posted.status, posted.retry_after_seconds, now)


def receive(
    database: Database, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> None:
    """Stores what `POST /webhook` was sent, once per id.

    Raises BadSignature, or BadRequest for what is not a JSON object of ours.
    """
    webhook_id = headers.get("webhook-id") or f"sha256:{hashlib.sha256(body).hexdigest()}"
    if secrets:
        _verify(secrets, headers, body)
    request_id, payload = _payload(body)
    owner = database.batches.find_owner(request_id)
    database.events.save(webhook_id, datetime.now(UTC), payload, owner)


def _verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    for secret in secrets:
        try:
            Signer(secret).verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):  # malformed parts escape the library (1.1)
            continue
        return
    raise BadSignature(BAD_SIGNATURE)


def _payload(body: bytes) -> tuple[str, str]:
    """The request it tells of, and the body as JSON text that can be shown whatever is in it."""
    try:
        payload = json.loads(body, parse_float=_finite, parse_constant=_finite)
        text = json.dumps(payload, ensure_ascii=False)
        text.encode()  # half a surrogate pair cannot be
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON") from error
    if not isinstance(payload, dict):
        raise BadRequest("the body is not a JSON object")
    for name in ("request_id", "status"):
        if not isinstance(payload.get(name), str):
            raise BadRequest(f"the body needs a {name} that is text")
    if _is_deeper(payload, MAX_BODY_LEVELS):
        raise BadRequest(f"the body is nested more than {MAX_BODY_LEVELS} levels deep")
    return payload["request_id"], text


def _is_deeper(value: Any, levels: int) -> bool:
    """Deeper JSON could be read here and still be too deep to be written where it is shown."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(each, levels - 1) for each in inner)


def _finite(number: str) -> float:
    """NaN is no JSON, and 1e999 becomes infinity, which is none either when we show it again."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not finite")
    return value
