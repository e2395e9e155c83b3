"""`GET /metrics` of a service that works, of one without its database, and of one with workers."""

import importlib
import time

import pytest
import requests
from pydantic import SecretStr

from app.database.private_server import PrivateServer
from tests.scraped import samples
from tests.service_process import service_process

MODULE = importlib.import_module("app.api.metrics")  # the package calls its blueprint so
KEY = "ann-1-0123456789abcdef"


@pytest.fixture
def scrape(client, monkeypatch):
    """A function that reads /metrics as they are now."""
    monkeypatch.setattr(MODULE, "KEPT_SECONDS", 0)

    def read():
        reply = client.get("/metrics")
        assert reply.status_code == 200
        return samples(reply.text)

    return read


def test_a_job_shows_in_every_stage(upload, origin, jpeg, scrape, client):
    origin.serve("/a.jpg", jpeg)
    text = f"Images\n{origin.url('/a.jpg')}\n{origin.url('/gone.jpg')}\n"

    request_id = upload(text, headers={"Prefer": "wait=20"}).json["request_id"]
    client.get(f"/status/{request_id}")

    found = scrape()
    assert found["pressroom_images_total", "completed", ""] == 1
    assert found["pressroom_images_total", "failed", "http_404"] == 1
    assert found["pressroom_bytes_in_total",] == len(jpeg)
    assert 0 < found["pressroom_bytes_out_total",] < len(jpeg)
    for stage in ("fetch", "wait", "compress", "image"):
        assert found["pressroom_stage_seconds_count", stage] == 1
        assert 0 <= found["pressroom_stage_seconds_sum", stage] < 20
    assert found["pressroom_stage_seconds_sum", "fetch"] > 0
    assert found["pressroom_stage_seconds_count", "store"] >= 1
    assert found["pressroom_requests_ended_total", "completed"] == 1
    assert found["pressroom_request_seconds_count",] == 1
    assert found["pressroom_requests", "completed"] == 1
    assert found["pressroom_database_up",] == 1
    assert found["pressroom_pending_images",] == 0
    assert found["pressroom_fetches_in_flight",] == 0
    assert found["pressroom_fetches_limit",] == 64
    assert found["pressroom_image_memory_limit_bytes",] > 0
    assert found["pressroom_resident_memory_bytes",] > 10_000_000
    assert found["pressroom_http_requests_total", "POST", "/upload", "200"] == 1
    assert found["pressroom_http_requests_total", "GET", "/status/<request_id>", "200"] == 1
    assert found["pressroom_http_request_seconds_count", "POST", "/upload"] == 1


def test_what_waits_is_told(unfinished, scrape, wait_for):
    wait_for(lambda: scrape()["pressroom_fetches_in_flight",] == 1)

    found = scrape()
    assert found["pressroom_requests", "processing"] == 1
    assert found["pressroom_requests", "queued"] == 0
    assert found["pressroom_pending_segments", "claimed"] == 1
    assert found["pressroom_pending_images",] == 1


def test_a_webhook_is_counted_until_it_is_delivered(upload, origin, jpeg, scrape, wait_for):
    origin.serve("/a.jpg", jpeg)
    origin.serve("/hook", b"", status=500)
    upload(f"Images\n{origin.url('/a.jpg')}\n", webhook_url=origin.url("/hook"))

    wait_for(lambda: scrape().get(("pressroom_webhook_tries_total", "refused", "pending")) == 1)

    assert scrape()["pressroom_pending_webhooks",] == 1


def test_what_an_alert_looks_for_is_told_before_it_happens(scrape):
    found = scrape()

    for key in (
        ("pressroom_http_requests_total", "POST", "/upload", "503"),
        ("pressroom_http_requests_total", "GET", "/status/<request_id>", "500"),
        ("pressroom_requests_ended_total", "failed"),
        ("pressroom_webhook_tries_total", "no_answer", "failed"),
    ):
        assert found[key] == 0


def test_nobody_can_make_up_new_series(client, scrape):
    for number in range(3):
        client.get(f"/nowhere/{number}")
        client.open("/healthz", method=f"BREW{number}")

    found = scrape()
    assert found["pressroom_http_requests_total", "GET", "unknown", "404"] == 3
    assert sum(value for key, value in found.items() if key[1:3] == ("other", "unknown")) >= 3
    assert not any("BREW" in part for key in found for part in key)


def test_the_database_is_asked_once_in_five_seconds(client, database, upload, monkeypatch):
    assert samples(client.get("/metrics").text)["pressroom_requests", "completed"] == 0
    database.batches._requests.insert_one({"request_id": "x", "status": "completed"})

    assert samples(client.get("/metrics").text)["pressroom_requests", "completed"] == 0
    monkeypatch.setattr(MODULE, "KEPT_SECONDS", 0)
    assert samples(client.get("/metrics").text)["pressroom_requests", "completed"] == 1


def test_the_counts_are_read_from_indexes(database):
    requests_ = database.batches._requests
    for query in (
        {"status": "completed"},
        {"webhook.state": "pending", "webhook.next_attempt_at": {"$type": "date"}},
    ):
        plan = str(requests_.find(query).explain()["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in plan
        assert "COLLSCAN" not in plan


def test_a_scrape_answers_while_the_database_is_away(client_of, settings, tmp_path, build_services):
    server = PrivateServer(tmp_path / "mongodb")
    changed = settings.model_copy(update={"mongodb_uri": SecretStr(server.start())})
    client = client_of(changed, build_services(changed))
    server.stop()
    began = time.monotonic()

    found = samples(client.get("/metrics").text)

    assert time.monotonic() - began < 4
    assert found["pressroom_database_up",] == 0
    assert ("pressroom_requests", "completed") not in found
    assert found["pressroom_bytes_in_total",] == 0


def test_a_database_that_counts_too_slowly_is_not_told_as_away(scrape, monkeypatch):
    monkeypatch.setattr(MODULE, "PATIENCE_SECONDS", 1e-6)

    found = scrape()

    assert found["pressroom_database_up",] == 1
    assert ("pressroom_requests", "completed") not in found


def insert_running(database, first, count, **fields):
    """Requests of two images, of each one done if it has begun or is retried."""
    ids = [f"r{n}" for n in range(first, first + count)]
    request = {"status": "processing", "total": 2, "created_at": first, **fields}
    database.batches._requests.insert_many({"request_id": each, **request} for each in ids)
    done = 1 if fields else 0
    counts = {"completed": done, "failed": 0, "cancelled": 0}
    database.segments._segments.insert_many(
        {"_id": each, "request_id": each, "state": "waiting", "counts": counts} for each in ids
    )


def test_running_requests_are_counted_whether_they_have_begun_or_not(database):
    insert_running(database, 0, 3)
    insert_running(database, 3, 5, started_at=1)
    insert_running(database, 8, 7, started_at=None, round=1)

    load = database.loads.read()

    assert load.requests["queued"] == 10
    assert load.requests["processing"] == 5
    assert load.segments["waiting"] == 15
    assert load.pending_images == 2 * 15 - 12


def test_however_many_wait_their_ids_are_not_sent_around(database, monkeypatch):
    monkeypatch.setattr("app.database.load._MOST_BEGUN", 4)
    insert_running(database, 0, 300)
    insert_running(database, 300, 9, started_at=1)
    sent = []
    sum_done = database.loads._sum_done
    monkeypatch.setattr(
        database.loads, "_sum_done", lambda ids: sent.append(len(ids)) or sum_done(ids)
    )

    load = database.loads.read()

    assert sent == [4]
    assert load.pending_images == 2 * 309 - 4


def test_with_keys_a_scrape_needs_one(client_of, settings, services):
    changed = settings.model_copy(update={"api_keys": SecretStr(f"ann:{KEY}")})
    client = client_of(changed, services)

    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_a_scrape_takes_no_parameters(client):
    assert client.get("/metrics?name=a").status_code == 400


def test_the_web_process_tells_what_its_workers_do(tmp_path, wait_for):
    with service_process(tmp_path, WORKER_PROCESSES=2) as service:
        service.wait_until_ready()
        url = f"{service.url}/samples/cat-240.jpg"
        sent = requests.post(
            f"{service.url}/upload",
            files={"file": ("a.csv", f"Images\n{url}\n{url}?\n")},
            headers={"Prefer": "wait=20"},
            timeout=30,
        )
        assert sent.status_code == 200

        def scrape():
            return samples(requests.get(f"{service.url}/metrics", timeout=10).text)

        wait_for(lambda: scrape().get(("pressroom_images_total", "completed", "")))
        found = scrape()

    assert found["pressroom_processes",] == 3
    assert found["pressroom_fetches_limit",] == 64
    assert found["pressroom_stage_seconds_count", "compress"] == 1
    assert found["pressroom_requests_ended_total", "completed"] == 1
    assert found["pressroom_http_requests_total", "POST", "/upload", "200"] == 1
