"""`Idempotency-Key`: one key, one request, however often and from how many sides it is sent."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import StorageUnavailable

KEY = {"Idempotency-Key": "nightly-2026-01-31"}


@pytest.fixture
def catalog(origin, jpeg):
    origin.serve("/a.jpg", jpeg)
    return f"Images\n{origin.url('/a.jpg')}\n"


def count_requests(services):
    database = services.database
    return database.client[database.name]["processing_requests"].count_documents({})


def test_the_same_upload_gets_the_first_ones_id(upload, catalog):
    first, second = upload(catalog, headers=KEY), upload(catalog, headers=KEY)

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json == second.json


@pytest.mark.parametrize(
    "change", [{"quality": "60"}, {"name": "other.csv"}, {"on_error": "reject"}]
)
def test_another_upload_under_the_same_key_is_409(upload, catalog, change):
    upload(catalog, headers=KEY)

    reply = upload(catalog, headers=KEY, **change)

    assert reply.status_code == 409
    assert "send a new key" in reply.json["error"]


def test_another_file_under_the_same_key_is_409(upload, catalog):
    upload(catalog, headers=KEY)

    assert upload(catalog + "\n\n", headers=KEY).status_code == 409


def test_a_refused_upload_keeps_no_key(upload, catalog):
    assert upload("nothing\n", headers=KEY).status_code == 400

    assert upload(catalog, headers=KEY).status_code == 202


def test_a_dry_run_keeps_no_key(upload, catalog):
    assert upload(catalog, headers=KEY, dry_run="true").status_code == 200

    assert upload(catalog, headers=KEY, quality="70").status_code == 202


def test_twenty_uploads_at_once_are_one_request(client_of, settings, services, catalog):
    together = threading.Barrier(20)

    def send(client):
        together.wait(60)
        file = (io.BytesIO(catalog.encode()), "catalog.csv")
        return client.post("/upload", data={"file": file}, headers=KEY)

    clients = [client_of(settings, services) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(send, clients))

    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.json["request_id"] for reply in replies}) == 1
    assert count_requests(services) == 1


def test_an_upload_that_broke_off_leaves_the_key_free(upload, catalog, services, monkeypatch):
    put = services.storage.put

    def refuse(key, file):
        raise StorageUnavailable("no space left")

    monkeypatch.setattr(services.storage, "put", refuse)
    assert upload(catalog, headers=KEY).status_code == 503
    monkeypatch.setattr(services.storage, "put", put)

    assert upload(catalog, headers=KEY).status_code == 202
    assert count_requests(services) == 1


def test_a_key_that_is_too_long_is_400(upload, catalog):
    reply = upload(catalog, headers={"Idempotency-Key": "k" * 256})

    assert reply.status_code == 400
    assert "255 are allowed" in reply.json["error"]
