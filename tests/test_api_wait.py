"""`Prefer: wait=N` on `POST /upload`."""

import threading

import pytest

from app.api.waiting import preferred_wait_seconds
from app.errors import DatabaseUnavailable


@pytest.fixture
def permits(client):
    return client.application.extensions["pressroom_slots"]


@pytest.fixture
def one_image(origin, jpeg):
    """A function that makes a catalogue of one image, held back by `gate`."""

    def make(gate=None):
        origin.serve("/a.jpg", jpeg, gate=gate)
        return f"SKU,Images\n1,{origin.url('/a.jpg')}\n"

    return make


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 0),
        (["wait=10"], 10),
        (["Wait = 10"], 10),
        (['wait="10"'], 10),
        (["respond-async, wait=5; strict"], 5),
        (["handling=lenient", "wait=7, wait=9"], 7),
        (["wait=61"], 60),
        (["wait=" + "9" * 5_000], 60),
        (["wait=0"], 0),
        (["wait=-1"], 0),
        (["wait=soon"], 0),
        (["wait"], 0),
        (['note="a, wait=3"'], 0),
        (["wait=٣"], 0),
    ],
)
def test_the_wish_to_wait_is_read_as_rfc_7240_has_it(headers, seconds):
    assert preferred_wait_seconds(headers) == seconds


def test_done_in_time_is_200_with_the_status_document(upload, client, one_image):
    reply = upload(one_image(), headers={"Prefer": "wait=20"})

    assert reply.status_code == 200
    assert reply.headers["Preference-Applied"] == "wait=20"
    assert reply.json["status"] == "completed"
    assert reply.json == client.get(f"/status/{reply.json['request_id']}").json


def test_not_done_in_time_is_202_like_any_other(upload, one_image):
    reply = upload(one_image(threading.Event()), headers={"Prefer": "wait=1"})

    assert reply.status_code == 202
    assert reply.headers["Preference-Applied"] == "wait=1"
    assert reply.headers["Location"] == reply.json["status_url"]


def test_a_wait_beyond_a_quarter_of_the_threads_is_answered_at_once(upload, one_image, permits):
    while permits.acquire(blocking=False):
        pass

    reply = upload(one_image(threading.Event()), headers={"Prefer": "wait=60"})

    assert reply.status_code == 202
    assert "Preference-Applied" not in reply.headers


def test_a_quarter_of_the_web_threads_may_wait_and_each_gives_its_place_back(
    upload, one_image, permits, settings
):
    for _ in range(settings.web_threads):
        assert upload(one_image(), headers={"Prefer": "wait=20"}).status_code == 200

    places = 0
    while permits.acquire(blocking=False):
        places += 1
    assert places == settings.web_threads // 4


def test_a_database_that_is_lost_during_the_wait_does_not_refuse_what_is_accepted(
    upload, client, one_image, monkeypatch
):
    def lose(*_):
        raise DatabaseUnavailable("away")

    monkeypatch.setattr("app.api.waiting._ended", lose)
    reply = upload(one_image(), headers={"Prefer": "wait=20"})

    assert reply.status_code == 202
    assert client.get(reply.json["status_url"]).status_code == 200


def test_a_stop_of_the_service_ends_the_wait(upload, one_image, services, origin):
    gate = threading.Event()
    text = one_image(gate)

    def stop_soon():
        origin.wait_until(lambda: origin.running("/a.jpg"))
        services.pipeline.stopping.set()

    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    reply = upload(text, headers={"Prefer": "wait=60"})
    stopper.join()

    assert reply.status_code == 202
