"""`webhook_events=all`: the start, each quarter and the end, in that order whatever is slow."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app import webhooks
from app.models import Batch, BatchOptions, BatchStatus, Counts, WebhookEvents, WebhookState

MILESTONES = ["request.started", "request.progress", "request.progress", "request.progress"]


@pytest.fixture
def posted(origin):
    """A function that lists the bodies posted to /hook, oldest first."""
    return lambda: [
        json.loads(request.body) for request in list(origin.requests) if request.path == "/hook"
    ]


@pytest.fixture
def gated(upload, origin, jpeg):
    """A function that uploads four images, each behind a gate of its own; the id, the gates."""
    opened = []

    def begin(**fields):
        gates = [threading.Event() for _ in range(4)]
        opened.extend(gates)
        paths = [f"/{number}.jpg" for number in range(4)]
        for path, gate in zip(paths, gates, strict=True):
            origin.serve(path, jpeg, gate=gate)
        text = "Images\n" + "".join(f"{origin.url(path)}\n" for path in paths)
        reply = upload(text, webhook_url=origin.url("/hook"), **fields)
        return reply.json["request_id"], gates

    yield begin
    for gate in opened:
        gate.set()


def test_the_start_each_quarter_and_the_end_are_told(gated, posted, origin, wait_for):
    origin.serve("/hook")
    request_id, gates = gated(webhook_events="all")

    for number, gate in enumerate(gates, start=1):
        wait_for(lambda number=number: len(posted()) == number)
        gate.set()
    events = wait_for(lambda: len(posted()) == 5 and posted())

    assert [event["type"] for event in events] == [*MILESTONES, "request.completed"]
    assert [event["progress"]["completed"] for event in events] == [0, 1, 2, 3, 4]
    assert {event["status"] for event in events[:4]} == {"processing"}
    assert {event["request_id"] for event in events} == {request_id}
    ids = [r.headers["webhook-id"] for r in origin.requests if r.path == "/hook"]
    assert len(set(ids)) == 5


def test_only_the_end_is_told_without_being_asked_for_more(gated, posted, origin, wait_for):
    origin.serve("/hook")
    _, gates = gated()

    for gate in gates:
        gate.set()

    assert [event["type"] for event in wait_for(posted)] == ["request.completed"]


def test_what_was_asked_for_is_shown(client, gated):
    request_id, _ = gated(webhook_events="all")

    options = client.get(f"/status/{request_id}").json["options"]

    assert options["webhook_events"] == "all"


def test_a_new_event_drops_what_is_undelivered_and_status_shows_the_last(
    client, gated, origin, wait_for, services
):
    origin.serve("/hook", status=500)
    request_id, gates = gated(webhook_events="all")
    find = services.database.batches.find
    wait_for(lambda: (webhook := find(request_id).webhook) and webhook.last_status == 500)
    first = find(request_id).webhook

    gates[0].set()
    wait_for(lambda: find(request_id).webhook.id != first.id)

    shown = wait_for(
        lambda: (
            (body := client.get(f"/status/{request_id}").json["webhook"])["last_status"] and body
        )
    )
    assert (shown["state"], shown["attempts"]) == ("pending", 1)


def test_the_end_is_told_after_the_quarter_that_is_being_told(
    gated, posted, origin, wait_for, client
):
    slow = threading.Event()
    origin.serve("/hook", gate=slow)
    request_id, gates = gated(webhook_events="all")
    wait_for(lambda: origin.running("/hook") == 1)

    for gate in gates:
        gate.set()
    wait_for(lambda: client.get(f"/status/{request_id}").json["completed_at"])
    assert origin.count("/hook") == 1
    slow.set()

    events = wait_for(lambda: len(posted()) == 2 and posted())
    assert [event["type"] for event in events] == ["request.started", "request.completed"]


# The place in the document


def event(batch, percent):
    return webhooks.milestone_event_of(batch, Counts(), percent)


def end_event(batch):
    return webhooks.event_of(batch, BatchStatus.COMPLETED, Counts(), link=str)


@pytest.fixture
def running(database):
    request_id = "0b9f3c1e-5a44-4c8e-9d7b-2f6a1c0e8d35"
    database.batches.begin(
        Batch(
            request_id=request_id,
            owner="default",
            status=BatchStatus.PROCESSING,
            created_at=datetime.now(UTC),
            filename="catalog.csv",
            upload_path=f"uploads/{request_id}/upload",
            options=BatchOptions(),
            total=0,
            rows=0,
            webhook_url="http://me/hook",
            webhook_events=WebhookEvents.ALL,
        )
    )
    database.batches.commit(request_id, rows=4, total=4)
    return database.batches.find(request_id)


def end(database, batch, webhook):
    database.batches.end(
        batch.request_id,
        database.batches.claim_finish(batch.request_id, batch.round),
        status=BatchStatus.COMPLETED,
        webhook=webhook,
    )


def test_a_milestone_is_told_once_and_none_after_a_later_one(database, running):
    tell = database.control.tell

    told = [tell(running, percent, event(running, percent)) for percent in (0, 0, 50, 25, 50, 75)]

    assert told == [True, False, True, False, False, True]


def test_a_milestone_does_not_take_the_place_of_the_end(database, running):
    final = end_event(running)
    end(database, running, final)

    assert not database.control.tell(running, 75, event(running, 75))
    assert database.batches.find(running.request_id).webhook.id == final.id


def test_a_try_that_died_holds_the_end_up_until_its_own_time_is_over(database, running):
    now = datetime.now(UTC) + timedelta(seconds=1)
    final = end_event(running)
    database.control.tell(running, 0, event(running, 0))
    assert database.batches.claim_webhook(now)
    database.control.tell(running, 25, event(running, 25))
    end(database, running, final)

    assert database.batches.claim_webhook(now) is None
    assert database.batches.claim_webhook(now + timedelta(seconds=61)).id == final.id


def test_a_try_that_was_heard_of_sets_the_end_free(database, running):
    now = datetime.now(UTC) + timedelta(seconds=1)
    final = end_event(running)
    database.control.tell(running, 0, event(running, 0))
    tried = database.batches.claim_webhook(now)
    end(database, running, final)

    assert database.batches.record_webhook(tried)

    claimed = database.batches.claim_webhook(now)
    assert (claimed.id, claimed.state) == (final.id, WebhookState.PENDING)


def test_milestones_count_what_the_present_round_has_to_do(database, running):
    batch = replace(running, started_at=datetime.now(UTC), total=100, done_before=90)

    reached = [webhooks.milestone_of(batch, Counts(completed=n)) for n in (90, 92, 93, 95, 99, 100)]

    assert reached == [0, 0, 25, 50, 75, None]
