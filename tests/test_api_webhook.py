"""`/webhook` takes what is signed or, where nobody signs, what has the right shape."""

import base64
import functools
import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from app import webhooks
from app.database.events import Events

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
BODY = '{"request_id": "r", "status": "completed", "filename": "Wäsche.csv"}'


@pytest.fixture
def guarded(client_of, settings, build_services):
    """A client of a service with a WEBHOOK_SECRET."""
    with_secret = settings.model_copy(update={"webhook_secret": SecretStr(SECRET)})
    return client_of(with_secret, build_services(with_secret))


def signed(body=BODY, webhook_id="msg_1"):
    return webhooks.sign([SECRET], webhook_id, datetime.now(UTC), body)


def received(client):
    return client.get("/webhook").json["events"]


def test_plain_json_is_received_and_shown(client):
    reply = client.post("/webhook", data=BODY.encode())

    assert (reply.status_code, reply.json) == (200, {"status": "received"})
    (event,) = received(client)
    assert event["payload"] == json.loads(BODY)
    assert event["id"].startswith("sha256:")
    age = datetime.now(UTC) - datetime.fromisoformat(event["received_at"])
    assert 0 <= age.total_seconds() < 60


def test_a_signed_event_is_received_once_under_its_id(guarded):
    for _ in range(3):
        reply = guarded.post("/webhook", data=BODY.encode(), headers=signed())
        assert (reply.status_code, reply.json) == (200, {"status": "received"})

    assert [event["id"] for event in received(guarded)] == ["msg_1"]


@pytest.mark.parametrize(
    "headers", [{}, signed("another body"), signed() | {"webhook-timestamp": "1700000000"}]
)
def test_what_is_not_rightly_signed_is_401(guarded, headers):
    reply = guarded.post("/webhook", data=BODY.encode(), headers=headers)

    assert reply.status_code == 401
    assert "webhook-signature" in reply.json["error"]
    assert received(guarded) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"status": "completed"}', "needs a request_id that is text"),
        (b'{"request_id": "r", "status": 1}', "needs a status that is text"),
    ],
)
def test_what_is_no_event_is_400_with_the_reason(client, body, message):
    reply = client.post("/webhook", data=body)

    assert reply.status_code == 400
    assert message in reply.json["error"]


@pytest.mark.parametrize(
    "value",
    [
        r'"\ud800"',
        "[" * 101 + "]" * 101,
        "NaN",
        "1e999",
    ],
)
def test_what_cannot_be_kept_is_400_and_breaks_nothing(client, value):
    body = f'{{"request_id": "r", "status": "s", "value": {value}}}'

    reply = client.post("/webhook", data=body)

    assert reply.status_code == 400
    assert received(client) == []


@pytest.mark.parametrize(
    "value",
    [
        {"$ref": "a", "$id": 1},
        {"$oid": "0" * 24, "$date": 0, "$numberLong": "1"},
        {"": [1.5, -0.0, 10**30, None, True], "a\0b": "\0", "_id": "x"},
        functools.reduce(lambda inner, _: [inner], range(98), []),
    ],
)
def test_odd_names_numbers_and_depths_come_back_as_they_were(client, value):
    payload = {"request_id": "r", "status": "s", "$a.b": value}

    assert client.post("/webhook", json=payload).status_code == 200

    assert received(client)[0]["payload"] == payload


def test_the_newest_are_kept_in_the_order_of_the_pages(database):
    events = Events(database.client[database.name], keep=2)
    now = datetime.now(UTC)

    for number in range(4):  # clocks that are set back change nothing
        events.save(str(number), now - timedelta(hours=number), "{}")

    assert [event["id"] for event in events.page("default", before=None, limit=9)[0]] == ["3", "2"]


def test_a_body_above_64_kib_is_413(client):
    def padded(size):
        head = b'{"request_id": "r", "status": "s", "pad": "'
        return head + b"x" * (size - len(head) - 2) + b'"}'

    assert client.post("/webhook", data=padded(65_536)).status_code == 200
    reply = client.post("/webhook", data=padded(65_537))

    assert reply.status_code == 413
    assert "65,536 bytes" in reply.json["error"]


def test_events_are_shown_newest_first_page_by_page(client):
    for number in range(5):
        client.post("/webhook", json={"request_id": str(number), "status": "completed"})

    pages, url = [], "/webhook?limit=2"
    while url:
        body = client.get(url).json
        pages.append([event["payload"]["request_id"] for event in body["events"]])
        url = body["next"]

    assert pages == [["4", "3"], ["2", "1"], ["0"]]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: '0' is not a whole number from 1 to 1000"),
        ("cursor=1", "cursor: '1' is not one of ours"),
        ("id=1", "unknown query parameter 'id': allowed are limit, cursor"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(client, query, message):
    reply = client.get(f"/webhook?{query}")

    assert reply.status_code == 400
    assert message in reply.json["error"]
