"""Payload, signature and schedule of webhooks; what the receiver takes and what it refuses."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import mongomock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier

from app import webhooks
from app.database.events import Events
from app.errors import BadRequest
from app.models import Batch, BatchOptions, BatchStatus, Counts, Webhook, WebhookState

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another one of thirty-two bytes.").decode()
BODY = json.dumps({"request_id": "r", "status": "completed", "name": "Wäsche"}, ensure_ascii=False)
NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)


def received(database):
    return [event["id"] for event in database.events.page("default", before=None, limit=100)[0]]


def signed(secret=SECRET, *, at=None, body=BODY, webhook_id="msg_1"):
    return webhooks.sign([secret], webhook_id, at or datetime.now(UTC), body)


def test_an_event_says_what_the_contract_says():
    batch = Batch(
        request_id="r",
        owner="default",
        status=BatchStatus.PROCESSING,
        created_at=NOW,
        filename="catalog.csv",
        upload_path="uploads/r/upload",
        options=BatchOptions(),
        total=3,
        rows=2,
        webhook_url="http://me/hook",
    )

    event = webhooks.event_of(
        batch, BatchStatus.COMPLETED, Counts(2, 1, 0, 100, 40), link=lambda key: f"http://h/{key}"
    )

    body = json.loads(event.body)
    assert body.pop("timestamp").endswith("Z")
    assert body == {
        "type": "request.completed",
        "request_id": "r",
        "status": "completed",
        "output_csv_url": "http://h/download/r",
        "filename": "catalog.csv",
        "progress": {
            "total": 3,
            "completed": 2,
            "failed": 1,
            "cancelled": 0,
            "bytes_in": 100,
            "bytes_out": 40,
        },
    }


def test_signatures_verify_with_the_reference_library_while_keys_rotate():
    headers = webhooks.sign([SECRET, OTHER_SECRET], "msg_1", datetime.now(UTC), BODY)

    assert Verifier(SECRET).verify(BODY, headers)["request_id"] == "r"
    assert Verifier(OTHER_SECRET).verify(BODY, headers)["request_id"] == "r"


def test_without_a_secret_nothing_is_signed():
    assert "webhook-signature" not in webhooks.sign([], "msg_1", NOW, BODY)


def tried(webhook, status, retry_after_seconds=None):
    """One more try, answered with `status`, at the moment it is due."""
    webhook = replace(webhook, attempts=webhook.attempts + 1)
    return webhooks.after_try(webhook, status, retry_after_seconds, webhook.next_attempt_at)


@pytest.fixture
def webhook():
    return Webhook("r", "http://me/hook", "msg_1", BODY, WebhookState.PENDING, next_attempt_at=NOW)


def test_the_whole_schedule_and_then_it_has_failed(webhook):
    waits_seconds = []
    for _ in range(9):
        after = tried(webhook, 500)
        waits_seconds.append((after.next_attempt_at - webhook.next_attempt_at).total_seconds())
        webhook = after
    webhook = tried(webhook, 500)

    expected = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert waits_seconds == [pytest.approx(seconds, rel=0.1) for seconds in expected]
    assert (webhook.state, webhook.attempts, webhook.next_attempt_at) == (
        WebhookState.FAILED,
        10,
        None,
    )


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_is_success(webhook, status):
    assert tried(webhook, status).state is WebhookState.DELIVERED


@pytest.mark.parametrize("status", [None, 302, 404, 429, 500])
def test_anything_else_is_tried_again(webhook, status):
    after = tried(webhook, status)

    assert (after.state, after.last_status) == (WebhookState.PENDING, status)


def test_410_ends_the_tries(webhook):
    assert tried(webhook, 410).state is WebhookState.FAILED


@pytest.mark.parametrize(
    ("retry_after_seconds", "wait_seconds"), [(1, 5), (60, 60), (10**9, 86_400)]
)
def test_retry_after_only_lengthens_a_wait_to_a_day_at_most(
    webhook, retry_after_seconds, wait_seconds
):
    after = tried(webhook, 503, retry_after_seconds)

    waited_seconds = (after.next_attempt_at - NOW).total_seconds()
    assert waited_seconds == pytest.approx(wait_seconds, rel=0.1)


def test_a_signed_event_is_stored_once_however_often_it_comes(database):
    for _ in range(100):
        webhooks.receive(database, [SECRET], signed(), BODY.encode())

    assert received(database) == ["msg_1"]


def test_while_keys_rotate_both_are_taken(database):
    webhooks.receive(database, [SECRET, OTHER_SECRET], signed(SECRET), BODY.encode())
    webhooks.receive(
        database, [SECRET, OTHER_SECRET], signed(OTHER_SECRET, webhook_id="msg_2"), BODY.encode()
    )

    assert sorted(received(database)) == ["msg_1", "msg_2"]


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_signature_older_or_newer_than_five_minutes_is_refused(database, seconds):
    headers = signed(at=datetime.now(UTC) + timedelta(seconds=seconds))

    with pytest.raises(webhooks.BadSignature, match="5 minutes"):
        webhooks.receive(database, [SECRET], headers, BODY.encode())


def test_an_unsigned_event_is_refused_where_a_secret_is_set(database):
    with pytest.raises(webhooks.BadSignature):
        webhooks.receive(database, [SECRET], {}, BODY.encode())


def test_without_a_secret_plain_json_is_enough_and_its_hash_is_the_id(database):
    webhooks.receive(database, [], {}, BODY.encode())
    webhooks.receive(database, [], {}, BODY.encode())

    (webhook_id,) = received(database)
    assert webhook_id.startswith("sha256:")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"status": "completed"}', "needs a request_id that is text"),
        (b'{"request_id": "r"}', "needs a status that is text"),
        (b'{"request_id": 5, "status": "completed"}', "needs a request_id that is text"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(database, body, message):
    with pytest.raises(BadRequest, match=message):
        webhooks.receive(database, [], {}, body)


@settings(max_examples=1000, deadline=None)
@given(
    webhook_id=st.text(max_size=20),
    timestamp=st.one_of(st.text(max_size=20), st.floats().map(str), st.integers().map(str)),
    signature=st.one_of(st.text(max_size=60), st.text(max_size=60).map("v1,{}".format)),
    body=st.one_of(st.binary(max_size=60), st.just(BODY.encode())),
)
def test_no_mutation_gets_in_or_breaks_the_receiver(webhook_id, timestamp, signature, body):
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }

    database = SimpleNamespace(events=Events(mongomock.MongoClient().db))

    with pytest.raises(webhooks.BadSignature):
        webhooks.receive(database, [SECRET], headers, body)
    assert received(database) == []
