"""`GET /requests`, `DELETE /requests/<id>`, and RETENTION_DAYS, which deletes too."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import StorageUnavailable
from app.models import Batch, BatchOptions, BatchStatus, RetryScope
from app.storage.local import LocalStorage

KEY = {"Idempotency-Key": "nightly"}
MISSING = "00000000-0000-4000-8000-000000000000"
LONG_AGO = datetime.now(UTC) - timedelta(days=31)


@pytest.fixture
def ended(upload, client, origin, jpeg, wait_for):
    """A function that has a request run to its end, and returns its status document."""
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg)

    def run(text=None, **fields):
        text = text or f"Images\n{origin.url('/a.jpg')}\n"
        url = upload(text, **fields).json["status_url"]
        return wait_for(lambda: (body := client.get(url).json)["completed_at"] and body)

    return run


@pytest.fixture
def stored(database):
    """A function that stores a request as of a moment; its id."""

    def store(created_at, **changes):
        request_id = str(uuid.uuid4())
        batch = Batch(
            request_id=request_id,
            owner=changes.pop("owner", "default"),
            status=BatchStatus.PROCESSING,
            created_at=created_at,
            filename="catalog.csv",
            upload_path=f"uploads/{request_id}/upload",
            options=BatchOptions(),
            total=0,
            rows=0,
        )
        database.batches.begin(batch)
        database.batches.commit(request_id, rows=0, total=1)
        return request_id

    return store


@pytest.fixture
def idle(client_of, settings, build_services):
    """A client of services that show, and never begin to work."""
    return client_of(settings, build_services(settings))


def ids(reply):
    assert reply.status_code == 200, reply.json
    return [entry["request_id"] for entry in reply.json["requests"]]


def documents(database, request_id):
    """How many documents of a request there are, in every collection."""
    found = database.client[database.name]
    by_id = {"request_id": request_id}
    return found["results"].count_documents({"_id": {"$regex": f"^{request_id}:"}}) + sum(
        found[name].count_documents(by_id)
        for name in ("processing_requests", "products", "segments")
    )


def files(settings, request_id):
    folders = (settings.upload_dir, settings.processed_dir, settings.output_dir)
    return [path for folder in folders for path in (folder / request_id).rglob("*")]


# The list


@pytest.mark.plain_site
def test_an_entry_says_what_became_of_a_request_and_what_it_stores(client, ended, origin, settings):
    twice = f"{origin.url('/a.jpg')}|{origin.url('/a.jpg')}|{origin.url('/missing.jpg')}"
    body = ended(f"Images\n{twice}\n")

    (entry,) = client.get("/requests").json["requests"]

    request_id = body["request_id"]
    stored = [path for path in files(settings, request_id) if path.suffix == ".jpg"]
    assert entry == {
        "request_id": request_id,
        "status": "completed",
        "queued": False,
        "error": None,
        "filename": "catalog.csv",
        "created_at": body["created_at"],
        "completed_at": body["completed_at"],
        "options": body["options"],
        "progress": body["progress"],
        "bytes_stored": sum(path.stat().st_size for path in stored),
        "webhook": body["webhook"],
        "output_csv_url": f"/download/{request_id}",
    }
    assert entry["progress"]["bytes_out"] == 2 * entry["bytes_stored"] > 0


def test_one_that_runs_has_no_output_and_counts_so_far(idle, stored):
    stored(datetime.now(UTC))

    (entry,) = idle.get("/requests").json["requests"]

    assert (entry["status"], entry["queued"], entry["completed_at"]) == ("processing", True, None)
    assert (entry["progress"]["remaining"], entry["bytes_stored"]) == (1, 0)
    assert "output_csv_url" not in entry


def test_pages_go_from_the_newest_on_and_new_requests_do_not_shift_them(idle, stored):
    now = datetime.now(UTC)
    moments = [now, now, now, now - timedelta(seconds=1), now - timedelta(seconds=2)]
    there = [stored(moment) for moment in moments]
    expected = [*sorted(there[:3], reverse=True), *there[3:]]

    first = idle.get("/requests?limit=2")
    stored(now + timedelta(seconds=1))
    second = idle.get(first.json["next"])
    third = idle.get(second.json["next"])

    assert ids(first) + ids(second) + ids(third) == expected
    assert third.json["next"] is None
    assert first.json["next"].startswith("/requests?cursor=")


def test_requests_can_be_filtered_by_status_on_every_page(idle, stored, database):
    running = [stored(datetime.now(UTC)) for _ in range(4)]
    database.batches.end(
        running[0],
        database.batches.claim_finish(running[0], 0),
        status=BatchStatus.FAILED,
        webhook=None,
    )

    assert ids(idle.get("/requests?status=failed")) == running[:1]
    first = idle.get("/requests?status=processing&limit=2")
    assert sorted(ids(first) + ids(idle.get(first.json["next"]))) == sorted(running[1:])
    assert ids(idle.get("/requests?status=cancelled")) == []


def test_others_requests_are_not_shown(idle, stored):
    stored(datetime.now(UTC), owner="somebody else")

    assert ids(idle.get("/requests")) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: '0' is not a whole number from 1 to 200"),
        ("limit=201", "limit: '201' is not a whole number from 1 to 200"),
        ("status=done", "status: 'done' is not one of processing, completed, failed, cancelled"),
        ("cursor=x", "cursor: that is none of ours; take it from the next of the page before"),
        ("cursor=MS4x", "cursor: that is none of ours; take it from the next of the page before"),
        ("page=2", "unknown query parameter 'page': allowed are limit, cursor, status"),
    ],
)
def test_what_is_not_understood_is_400_and_says_what_is_allowed(idle, query, message):
    reply = idle.get(f"/requests?{query}")

    assert (reply.status_code, reply.json) == (400, {"error": message})


# Deleting


@pytest.mark.plain_site
def test_a_deleted_request_leaves_nothing(client, ended, database, settings):
    request_id = ended()["request_id"]
    assert files(settings, request_id)

    reply = client.delete(f"/requests/{request_id}")

    assert (reply.status_code, reply.data) == (204, b"")
    assert documents(database, request_id) == 0
    assert files(settings, request_id) == []
    for path in ("status", "download"):
        assert client.get(f"/{path}/{request_id}").status_code == 404
    assert client.delete(f"/requests/{request_id}").status_code == 404
    assert ids(client.get("/requests")) == []


def test_deleting_one_harms_no_other(client, ended, settings):
    first, second = ended()["request_id"], ended()["request_id"]
    kept = {path: path.stat().st_ino for path in files(settings, second)}

    client.delete(f"/requests/{first}")

    assert {path: path.stat().st_ino for path in files(settings, second)} == kept
    assert client.get(f"/download/{second}").status_code == 200


def test_one_that_runs_is_not_deleted(idle, stored):
    request_id = stored(datetime.now(UTC))

    reply = idle.delete(f"/requests/{request_id}")

    assert reply.status_code == 409
    assert "cancel it first" in reply.json["error"]
    assert idle.get(f"/status/{request_id}").status_code == 200


def test_its_idempotency_key_is_free_at_once(client, ended, upload, origin):
    first = ended(headers=KEY)["request_id"]

    client.delete(f"/requests/{first}")
    reply = upload(f"Images\n{origin.url('/b.jpg')}\n", headers=KEY)

    assert reply.status_code == 202
    assert reply.json["request_id"] != first


def test_its_undelivered_webhook_is_dropped(client, ended, origin, database, wait_for):
    origin.serve("/hook", status=500)
    request_id = ended(webhook_url=origin.url("/hook"))["request_id"]
    wait_for(lambda: origin.count("/hook") == 1)

    client.delete(f"/requests/{request_id}")

    assert database.batches.claim_webhook(datetime.now(UTC) + timedelta(days=9)) is None


@pytest.mark.plain_site
def test_a_removal_that_broke_off_is_gone_for_readers_and_done_by_the_sweeper(
    client, ended, services, settings, database, monkeypatch, wait_for
):
    request_id = ended()["request_id"]

    def refuse(storage, key):
        raise StorageUnavailable("the disk is away")

    with monkeypatch.context() as patched:
        patched.setattr(LocalStorage, "delete", refuse)
        assert client.delete(f"/requests/{request_id}").status_code == 204
        assert client.get(f"/status/{request_id}").status_code == 404
    assert documents(database, request_id)
    database.client[database.name]["processing_requests"].update_one(
        {"request_id": request_id}, {"$set": {"lease_expires_at": LONG_AGO}}
    )

    wait_for(lambda: not documents(database, request_id))
    assert files(settings, request_id) == []


def test_an_unknown_request_is_404(client):
    reply = client.delete(f"/requests/{MISSING}")

    assert (reply.status_code, reply.json) == (404, {"error": "Request ID not found"})


@pytest.mark.plain_site
def test_a_worker_that_came_too_late_leaves_nothing_of_a_deleted_request(
    services, client, ended, origin, jpeg, upload, database, settings, wait_for
):
    """It slept past its lease, and the request was finished and deleted meanwhile."""
    gate = threading.Event()
    origin.serve("/slow.jpg", jpeg, gate=gate)
    request_id = upload(f"Images\n{origin.url('/slow.jpg')}\n").json["request_id"]
    wait_for(lambda: origin.running("/slow.jpg"))
    services.sweeper.stop()
    found = database.client[database.name]
    found["processing_requests"].update_one(
        {"request_id": request_id}, {"$set": {"status": "completed"}}
    )
    found["segments"].update_one({"request_id": request_id}, {"$inc": {"token": 1}})

    assert client.delete(f"/requests/{request_id}").status_code == 204
    gate.set()

    wait_for(lambda: not services.engine._running)
    assert documents(database, request_id) == 0
    assert files(settings, request_id) == []


# Retention


@pytest.fixture
def aged(database):
    """A function that lets a request have ended long ago."""
    requests = database.client[database.name]["processing_requests"]

    def age(request_id):
        requests.update_one({"request_id": request_id}, {"$set": {"completed_at": LONG_AGO}})
        return request_id

    return age


def test_what_ended_before_the_retention_days_goes_with_all_its_files(
    ended, aged, settings, build_services, database, stored
):
    old, young = aged(ended()["request_id"]), ended()["request_id"]
    running = stored(LONG_AGO)
    keeper = build_services(settings.model_copy(update={"retention_days": 30}))

    keeper.sweeper.clean()

    assert documents(database, old) == 0
    assert files(settings, old) == []
    assert documents(database, young)
    assert database.batches.find(running)


def test_without_retention_days_everything_is_kept(ended, aged, services, database):
    old = aged(ended()["request_id"])

    services.sweeper.clean()

    assert database.batches.find(old)


def test_a_request_that_runs_again_since_it_was_found_to_be_old_is_kept(ended, aged, database):
    first, second = aged(ended()["request_id"]), aged(ended()["request_id"])
    removed = database.control.remove_ended_before(datetime.now(UTC))

    began_with = next(removed)
    other = second if began_with == first else first
    again = database.batches.find(other)
    assert database.control.retry(again, RetryScope.ALL, done_before=1)

    assert list(removed) == []
    assert database.batches.find(other)
