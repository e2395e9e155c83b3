"""Cancel and retry of real work: what is in flight, what is left, what runs again and how often."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import making
from app.cancelling import Cancellations
from app.database.control import Control
from app.models import BatchStatus, RetryScope

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch):
    monkeypatch.setattr(making, "WAITS_SECONDS", (0.01, 0.01))


@pytest.fixture
def status(client):
    return lambda request_id, query="": client.get(f"/status/{request_id}{query}").json


@pytest.fixture
def ended(status, wait_for):
    """A function that waits for a request's end, and returns its status document."""

    def wait(request_id):
        return wait_for(
            lambda: (body := status(request_id))["status"] != "processing" and body, seconds=30
        )

    return wait


@pytest.fixture
def events(origin):
    """A function that lists the bodies posted to /hook, oldest first."""
    origin.serve("/hook")
    return lambda: [
        json.loads(request.body) for request in list(origin.requests) if request.path == "/hook"
    ]


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture
def pause(services):
    """A function after which nothing is worked on by itself."""

    def stop():
        services.sweeper.stop()
        services.engine.stop()

    return stop


def catalog(origin, *paths):
    return "SKU,Images\n" + "".join(f"{n},{origin.url(path)}\n" for n, path in enumerate(paths))


def output_rows(client, request_id):
    reply = client.get(f"/download/{request_id}")
    assert reply.status_code == 200
    return reply.data.decode("utf-8-sig").splitlines()


# Cancel


@pytest.fixture
def gated(settings, upload, origin, jpeg, gate, wait_for):
    """A function that uploads so many images that do not come before the gate is open; its id."""

    def begin(count, **fields):
        paths = [f"/slow-{number}.jpg" for number in range(count)]
        for path in paths:
            origin.serve(path, jpeg, gate=gate)
        request_id = upload(catalog(origin, *paths), **fields).json["request_id"]
        wait_for(lambda: origin.running() > 0)
        return request_id

    return begin


@pytest.fixture
def wait_until_noticed(monkeypatch, wait_for):
    """A function that returns once that many services have seen that a request is cancelled."""
    noticed, begun = set(), set()
    is_cancelling, watching = Control.is_cancelling, Cancellations.watching

    def look(control, request_id):
        found = is_cancelling(control, request_id)
        if found:
            noticed.add(control)
        return found

    def watch(cancellations, *arguments, is_seen):
        """A segment that begins later sees it in its request, and tells the others."""
        if is_seen:
            begun.add(cancellations)
        return watching(cancellations, *arguments, is_seen=is_seen)

    monkeypatch.setattr(Control, "is_cancelling", look)
    monkeypatch.setattr(Cancellations, "watching", watch)
    return lambda services=1: wait_for(lambda: max(len(noticed), len(begun)) >= services, seconds=5)


@pytest.fixture
def cancelled(client, gated, gate, ended, wait_until_noticed):
    """A function that cancels a request of so many images, 4 of them in flight; its last status."""

    def run(count, **fields):
        request_id = gated(count, **fields)
        assert client.post(f"/cancel/{request_id}").status_code == 202
        wait_until_noticed()
        gate.set()
        return ended(request_id)

    return run


def asked_for(origin):
    return sum(request.path.startswith("/slow-") for request in list(origin.requests))


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"per_host_connections": 4})


def test_a_cancel_stops_after_the_images_in_flight(cancelled, origin):
    body = cancelled(350)

    assert body["status"] == "cancelled"
    assert body["progress"]["completed"] == asked_for(origin) == 4
    assert (body["progress"]["cancelled"], body["progress"]["remaining"]) == (346, 0)


def test_a_cancel_is_answered_at_once(client, gated):
    request_id = gated(6)

    reply = client.post(f"/cancel/{request_id}")

    assert (reply.status_code, reply.json["status"]) == (202, "processing")
    assert reply.json["status_url"] == f"/status/{request_id}"


def test_a_cancelled_request_has_an_output_that_says_so(client, cancelled, status):
    request_id = cancelled(6)["request_id"]

    rows = output_rows(client, request_id)
    assert len(rows) == 7
    ends = [
        row for row in rows if row.endswith(",,cancelled,1: cancelled the request was cancelled")
    ]
    assert len(ends) == 2
    images = status(request_id, "?images=cancelled")["images"]
    assert [image["error"]["code"] for image in images.values()] == ["cancelled"] * 2


def test_a_cancel_is_told_by_webhook(cancelled, events, origin, wait_for):
    request_id = cancelled(6, webhook_url=origin.url("/hook"))["request_id"]

    (event,) = wait_for(events)
    assert (event["type"], event["status"]) == ("request.cancelled", "cancelled")
    assert event["progress"]["cancelled"] == 2
    assert event["output_csv_url"].endswith(f"/download/{request_id}")


@pytest.mark.plain_site
def test_another_process_that_works_on_it_notices_too(
    client, settings, gated, gate, origin, ended, wait_for, build_services, wait_until_noticed
):
    other = build_services(settings)
    request_id = gated(350)
    other.pipeline.go_on(request_id)
    wait_for(lambda: origin.running() == 8)  # four connections of each

    client.post(f"/cancel/{request_id}")
    wait_until_noticed(services=2)
    gate.set()

    assert ended(request_id)["progress"]["completed"] == asked_for(origin) == 8


def test_segments_that_nobody_has_begun_fetch_nothing(client, services, pause, upload, origin):
    pause()
    rows = [f"/{number}.jpg" for number in range(250)]
    request_id = upload(catalog(origin, *rows)).json["request_id"]

    client.post(f"/cancel/{request_id}")
    for first_row in (1, 101, 201):
        services.pipeline.run_segment(f"{request_id}:{first_row}")

    assert services.database.batches.find(request_id).status is BatchStatus.CANCELLED
    assert services.database.segments.sum_counts(request_id).cancelled == 250
    assert not origin.requests


def test_a_cancel_during_the_end_takes_the_finish_away(
    services, gated, gate, client, ended, monkeypatch, wait_for
):
    """What was being written says `completed`; the caller was promised `cancelled`."""
    writing, goes_on = threading.Event(), threading.Event()
    write = services.pipeline._write_output_csv

    def write_slowly(batch, token):
        path = write(batch, token)
        if not writing.is_set():
            writing.set()
            assert goes_on.wait(20)
        return path

    monkeypatch.setattr(services.pipeline, "_write_output_csv", write_slowly)
    request_id = gated(2)
    gate.set()
    assert writing.wait(20)

    assert client.post(f"/cancel/{request_id}").status_code == 202
    goes_on.set()
    body = ended(request_id)

    assert (body["status"], body["progress"]["completed"]) == ("cancelled", 2)
    assert client.get(f"/download/{request_id}").status_code == 200


def test_a_second_cancel_is_202_and_one_after_the_end_409(client, gated, gate, ended):
    request_id = gated(1)
    assert client.post(f"/cancel/{request_id}").status_code == 202
    assert client.post(f"/cancel/{request_id}").status_code == 202
    gate.set()
    ended(request_id)

    reply = client.post(f"/cancel/{request_id}")

    assert reply.status_code == 409
    assert "has ended" in reply.json["error"]


@pytest.mark.plain_site
def test_a_request_can_be_cancelled_while_the_disk_is_full(
    client, services, gated, gate, ended, monkeypatch
):
    """Or nobody could delete it to make room."""
    request_id = gated(250)
    monkeypatch.setattr(services.storage, "_min_free_bytes", 2**80)

    client.post(f"/cancel/{request_id}")
    gate.set()

    assert ended(request_id)["status"] == "cancelled"


# Retry


@pytest.fixture
def flapping(upload, origin, jpeg, ended):
    """A request with a sound image, one that is gone, and one that comes when asked again."""
    origin.serve("/sound.jpg", jpeg)
    origin.flap("/flap.jpg", jpeg, failures=making.TRIES)
    text = catalog(origin, "/sound.jpg", "/gone.jpg", "/flap.jpg")
    request_id = upload(text, webhook_url=origin.url("/hook")).json["request_id"]
    assert ended(request_id)["progress"]["failed"] == 2
    return request_id


def test_a_retry_runs_what_failed_and_leaves_what_succeeded(
    client, events, flapping, origin, ended
):
    before = ended(flapping)["images"][origin.url("/sound.jpg")]

    reply = client.post(f"/retry/{flapping}")

    assert reply.status_code == 202
    assert reply.headers["Location"] == reply.json["status_url"] == f"/status/{flapping}"
    body = ended(flapping)
    assert (body["status"], body["error"]) == ("completed", None)
    assert (body["progress"]["completed"], body["progress"]["failed"]) == (2, 1)
    assert body["images"][origin.url("/sound.jpg")] == before
    assert origin.count("/sound.jpg") == 1
    assert origin.count("/gone.jpg") == 2
    assert [row.split(",")[3] for row in output_rows(client, flapping)[1:]] == [
        "completed",
        "failed",
        "completed",
    ]


def test_only_transient_leaves_what_cannot_heal(client, events, flapping, origin, ended):
    assert client.post(f"/retry/{flapping}?only=transient").status_code == 202

    progress = ended(flapping)["progress"]
    assert (progress["completed"], progress["failed"]) == (2, 1)
    assert origin.count("/gone.jpg") == 1


def test_an_image_has_all_its_tries_again(client, events, flapping, origin, jpeg, ended):
    origin.flap("/flap.jpg", jpeg, failures=making.TRIES - 1)

    client.post(f"/retry/{flapping}")

    assert ended(flapping)["progress"]["completed"] == 2
    assert origin.count("/flap.jpg") == 2 * making.TRIES


def test_a_url_that_failed_in_many_segments_is_fetched_once_more(
    client, upload, origin, jpeg, ended
):
    rows = ["/gone.jpg", *["/sound.jpg"] * 99] * 3
    origin.serve("/sound.jpg", jpeg)
    request_id = upload(catalog(origin, *rows)).json["request_id"]
    assert ended(request_id)["progress"]["failed"] == 3

    client.post(f"/retry/{request_id}")

    assert ended(request_id)["progress"]["failed"] == 3
    assert (origin.count("/gone.jpg"), origin.count("/sound.jpg")) == (2, 1)


def test_while_it_runs_again_it_is_queued_and_has_no_output(client, flapping, events, pause):
    pause()

    client.post(f"/retry/{flapping}")
    body = client.get(f"/status/{flapping}").json

    assert (body["status"], body["queued"], body["completed_at"]) == ("processing", True, None)
    assert "output_csv_url" not in body
    assert (body["progress"]["completed"], body["progress"]["remaining"]) == (1, 2)
    assert body["webhook"]["state"] == "pending"
    assert client.get(f"/download/{flapping}").status_code == 404


def test_its_new_end_is_a_new_event(client, events, flapping, ended, wait_for, origin):
    wait_for(events)
    client.post(f"/retry/{flapping}")
    ended(flapping)

    first, second = wait_for(lambda: len(events()) == 2 and events())
    assert (first["progress"]["failed"], second["progress"]["failed"]) == (2, 1)
    ids = [r.headers["webhook-id"] for r in origin.requests if r.path == "/hook"]
    assert len(set(ids)) == 2


def test_an_undelivered_event_of_the_end_before_is_dropped(
    client, upload, origin, ended, wait_for, jpeg, services
):
    origin.serve("/hook", status=500)
    request_id = upload(catalog(origin, "/a.jpg"), webhook_url=origin.url("/hook")).json[
        "request_id"
    ]
    ended(request_id)
    wait_for(lambda: origin.count("/hook") == 1)
    first = services.database.batches.find(request_id).webhook
    origin.serve("/a.jpg", jpeg)

    client.post(f"/retry/{request_id}")
    ended(request_id)

    assert services.database.batches.find(request_id).webhook.id != first.id
    assert services.database.batches.record_webhook(first) is False


def test_of_twenty_retries_at_once_exactly_one_wins(
    client_of, settings, services, events, flapping, pause
):
    together = threading.Barrier(20)

    def send(client):
        together.wait(60)
        return client.post(f"/retry/{flapping}").status_code

    pause()
    clients = [client_of(settings, services) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(send, clients))

    assert sorted(codes) == [202] + [409] * 19


def test_a_cancelled_request_goes_on_where_it_stood(client, cancelled, origin, ended):
    request_id = cancelled(30)["request_id"]

    assert client.post(f"/retry/{request_id}").status_code == 202

    body = ended(request_id)
    assert (body["status"], body["progress"]["completed"]) == ("completed", 30)
    assert asked_for(origin) == 30


def test_a_request_that_could_not_be_finished_is_finished(
    client, services, upload, origin, jpeg, ended, monkeypatch
):
    def fail(*_):
        raise RuntimeError("a bug")

    origin.serve("/a.jpg", jpeg)
    with monkeypatch.context() as patched:
        patched.setattr(services.exports, "output_csv", fail)
        request_id = upload(catalog(origin, "/a.jpg")).json["request_id"]
        assert ended(request_id)["status"] == "failed"

    assert client.post(f"/retry/{request_id}").status_code == 202

    body = ended(request_id)
    assert (body["status"], body["error"]) == ("completed", None)
    assert origin.count("/a.jpg") == 1


def test_nothing_left_to_do_is_409(client, upload, origin, jpeg, ended):
    origin.serve("/a.jpg", jpeg)
    done = upload(catalog(origin, "/a.jpg")).json["request_id"]
    gone = upload(catalog(origin, "/gone.jpg")).json["request_id"]
    ended(done)
    ended(gone)

    reply = client.post(f"/retry/{done}")
    assert (reply.status_code, "nothing is left" in reply.json["error"]) == (409, True)
    reply = client.post(f"/retry/{gone}?only=transient")
    assert (reply.status_code, "may heal" in reply.json["error"]) == (409, True)


def test_what_still_runs_cannot_be_retried(client, gated):
    reply = client.post(f"/retry/{gated(1)}")

    assert reply.status_code == 409
    assert "still runs" in reply.json["error"]


@pytest.mark.parametrize("path", ["/retry", "/cancel"])
def test_an_unknown_request_is_404(client, path):
    reply = client.post(f"{path}/{MISSING}")

    assert (reply.status_code, reply.json) == (404, {"error": "Request ID not found"})


def test_another_only_is_400_and_says_what_is_allowed(client):
    reply = client.post(f"/retry/{MISSING}?only=all")

    assert reply.status_code == 400
    assert reply.json["error"] == "only: 'all' is not transient"


def test_a_late_reset_changes_nothing_that_was_done_since(
    client, services, events, flapping, ended
):
    """As by a process that slept in the middle of it: its round is over for those segments."""
    database = services.database
    client.post(f"/retry/{flapping}")
    ended(flapping)
    before = list(database.products.iterate(flapping))
    (segment,) = database.segments.find_to_reopen(flapping, 2, 9)

    database.products.reopen(segment, 1, RetryScope.ALL)

    assert list(database.products.iterate(flapping)) == before
    assert database.segments.find_to_reopen(flapping, 1, 9) == []


def test_who_saw_all_done_before_a_retry_does_not_end_it_after(services, events, flapping, pause):
    database = services.database
    pause()
    before = database.batches.find(flapping)
    assert database.control.retry(before, RetryScope.ALL, done_before=1)

    again = database.batches.find(flapping)
    database.control.end_reopening(again)

    assert database.batches.claim_finish(flapping, before.round) is None
    assert database.batches.claim_finish(flapping, again.round) is not None
