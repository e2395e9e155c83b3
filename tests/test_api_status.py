"""`GET /status/<id>`: the document, its pages, its filters."""

import threading
import uuid
from datetime import UTC, datetime

import pytest

from app.models import Batch, BatchOptions, BatchStatus, Counts, ImageUrl, Row

FIELDS = [
    *("request_id", "status", "queued", "error", "filename", "created_at", "completed_at"),
    *("options", "progress", "webhook", "images"),
]
UNKNOWN = "0b9f3c1e-5a44-4c8e-9d7b-2f6a1c0e8d35"
NO_WEBHOOK = {"state": "none", "attempts": 0, "next_attempt_at": None, "last_status": None}


@pytest.fixture
def idle(client_of, settings, build_services):
    """A client of services that accept and show, and never begin to work."""
    return client_of(settings, build_services(settings))


@pytest.fixture
def accepted(database):
    """A function that stores a request of one row for each list of URLs; its id."""

    def accept(*rows, **changes):
        request_id = str(uuid.uuid4())
        batch = Batch(
            request_id=request_id,
            owner="default",
            status=BatchStatus.PROCESSING,
            created_at=datetime(2026, 1, 31, 10, tzinfo=UTC),
            filename="catalog.csv",
            upload_path=f"uploads/{request_id}/upload",
            options=BatchOptions(),
            total=0,
            rows=0,
            **changes,
        )
        database.batches.begin(batch)
        database.products.insert(
            request_id,
            [
                Row(number, number + 1, (), "", "", tuple(ImageUrl(url, "Images") for url in urls))
                for number, urls in enumerate(rows, start=1)
            ],
        )
        database.segments.insert(request_id, [(1, len(rows))])
        database.batches.commit(request_id, rows=len(rows), total=sum(map(len, rows)))
        return request_id

    return accept


def urls(count):
    return [f"https://a.example/{number}.jpg" for number in range(count)]


def test_before_work_begins_a_request_is_queued_and_all_is_null(idle, accepted):
    request_id = accepted(urls(1))

    body = idle.get(f"/status/{request_id}").json

    assert list(body) == FIELDS
    assert body == {
        "request_id": request_id,
        "status": "processing",
        "queued": True,
        "error": None,
        "filename": "catalog.csv",
        "created_at": "2026-01-31T10:00:00.000Z",
        "completed_at": None,
        "options": {"quality": 50, "format": "auto"},
        "progress": {
            "total": 1,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
            "remaining": 1,
            "reused": 0,
            "percent": 0.0,
            "images_per_second": 0.0,
            "eta_seconds": None,
            "bytes_in": 0,
            "bytes_out": 0,
        },
        "webhook": NO_WEBHOOK,
        "images": {
            "https://a.example/0.jpg": {
                "status": "pending",
                "column": "Images",
                "path": None,
                "output_url": None,
                "bytes_in": None,
                "bytes_out": None,
                "kept_original": False,
                "error": None,
            }
        },
    }


def test_while_work_goes_on_it_tells_how_fast_and_how_long_still(idle, accepted, database):
    request_id = accepted(urls(3000))
    segment = database.segments.claim(f"{request_id}:1")
    database.batches.mark_started(request_id)
    database.segments.progress(segment, Counts(2997, failed=2, bytes_in=900, bytes_out=300))

    body = idle.get(f"/status/{request_id}?images=none").json

    progress = body["progress"]
    assert body["queued"] is False
    assert (progress["completed"], progress["failed"], progress["remaining"]) == (2997, 2, 1)
    assert progress["percent"] == 99.9
    assert progress["images_per_second"] > 0
    assert progress["eta_seconds"] >= 0


def test_what_may_be_of_several_kinds_is_refused_in_one_sentence(client):
    reply = client.get(f"/status/{uuid.uuid4()}?images=broken")

    assert reply.json["error"].count("'broken'") == 1


def test_the_images_of_a_row_under_work_are_processing(upload, client, origin, wait_for, jpeg):
    origin.serve("/a.jpg", jpeg, gate=threading.Event())
    status_url = upload(f"Images\n{origin.url('/a.jpg')}\n").json["status_url"]

    origin.wait_until(lambda: origin.running("/a.jpg"))

    assert client.get(status_url).json["images"][origin.url("/a.jpg")]["status"] == "processing"


def test_an_ended_request_shows_what_became_of_every_image(upload, client, origin, jpeg):
    origin.serve("/a.jpg", jpeg)
    origin.serve("/page.jpg", b"<html>")
    text = f"Images\n{origin.url('/a.jpg')} {origin.url('/gone.jpg')} {origin.url('/page.jpg')}\n"

    body = upload(text, headers={"Prefer": "wait=20"}).json

    request_id = body["request_id"]
    assert list(body) == [*FIELDS[:9], "output_csv_url", "output_csv", *FIELDS[9:]]
    assert (body["status"], body["queued"], body["error"]) == ("completed", False, None)
    assert body["completed_at"].endswith("Z")
    assert body["output_csv_url"] == f"/download/{request_id}"
    assert body["output_csv"].startswith(f"outputs/{request_id}")
    assert body["progress"]["percent"] == 100.0
    assert body["progress"]["eta_seconds"] is None
    done, gone, page = body["images"].values()
    assert done["path"].startswith(f"processed/{request_id}/1-1-a-")
    assert done["output_url"] == f"http://127.0.0.1:8000/{done['path']}"
    assert done["bytes_in"] == body["progress"]["bytes_in"] == len(jpeg)
    assert done["bytes_out"] == body["progress"]["bytes_out"] < len(jpeg)
    assert gone["error"] == {"code": "http_404", "message": "Not Found", "permanent": True}
    assert page["error"]["code"] == "not_an_image"


@pytest.mark.plain_site
def test_a_request_that_could_not_be_finished_says_why(
    upload, client, origin, settings, wait_for, jpeg
):
    gate = threading.Event()
    origin.serve("/a.jpg", jpeg, gate=gate)
    accepted = upload(f"Images\n{origin.url('/a.jpg')}\n").json
    (settings.upload_dir / accepted["request_id"] / "upload").unlink()
    gate.set()

    def failed():
        body = client.get(accepted["status_url"]).json
        return body["status"] == "failed" and body

    body = wait_for(failed)
    assert "output CSV" in body["error"]
    assert "output_csv_url" not in body
    assert "output_csv" not in body
    assert body["completed_at"]


def test_an_asked_for_webhook_is_pending_until_it_is_delivered(
    upload, client, origin, wait_for, jpeg
):
    gate = threading.Event()
    origin.serve("/a.jpg", jpeg, gate=gate)
    origin.serve("/hook", b"", status=204)
    text = f"Images\n{origin.url('/a.jpg')}\n"
    status_url = upload(text, webhook_url=origin.url("/hook")).json["status_url"]

    def webhook():
        return client.get(status_url).json["webhook"]

    assert webhook() == NO_WEBHOOK | {"state": "pending"}
    gate.set()
    wait_for(lambda: webhook()["state"] == "delivered")
    assert webhook() == NO_WEBHOOK | {"state": "delivered", "attempts": 1, "last_status": 204}


def test_a_webhook_that_failed_says_when_it_is_tried_again(upload, client, origin, wait_for):
    origin.serve("/hook", b"", status=500)
    text = f"Images\n{origin.url('/gone.jpg')}\n"
    status_url = upload(text, webhook_url=origin.url("/hook")).json["status_url"]

    webhook = wait_for(lambda: (w := client.get(status_url).json["webhook"])["last_status"] and w)

    assert (webhook["state"], webhook["attempts"], webhook["last_status"]) == ("pending", 1, 500)
    assert webhook["next_attempt_at"] > client.get(status_url).json["completed_at"]


# Pages


def pages(client, url):
    """Every page from a URL on, following `next`."""
    while url:
        body = client.get(url).json
        yield list(body["images"])
        url = body.get("next")


def test_pages_follow_one_another_in_order_of_row_and_position(idle, accepted):
    names = urls(7)
    request_id = accepted(names[:3], [], names[3:4], names[4:])

    found = list(pages(idle, f"/status/{request_id}?limit=2"))

    assert found == [names[0:2], names[2:4], names[4:6], names[6:]]


def test_a_hundred_images_are_a_page_unless_asked_otherwise(idle, accepted):
    request_id = accepted(urls(101))

    assert list(map(len, pages(idle, f"/status/{request_id}"))) == [100, 1]
    assert list(map(len, pages(idle, f"/status/{request_id}?limit=1000"))) == [101]


def test_next_is_there_only_when_more_follow_and_keeps_the_filter(idle, accepted):
    request_id = accepted(urls(3))

    first = idle.get(f"/status/{request_id}?limit=2&images=pending").json
    last = idle.get(first["next"]).json

    assert first["next"].startswith(f"/status/{request_id}?cursor=")
    assert first["next"].endswith("&limit=2&images=pending")
    assert "next" not in last


def test_a_url_that_repeats_on_a_page_stands_once(idle, accepted):
    request_id = accepted(["https://a.example/0.jpg"], urls(2))

    assert list(pages(idle, f"/status/{request_id}")) == [urls(2)]


@pytest.mark.parametrize(
    ("images", "names"),
    [("completed", ["/a.jpg"]), ("failed", ["/gone.jpg"]), ("pending", []), ("cancelled", [])],
)
def test_images_can_be_filtered_by_status(upload, client, origin, jpeg, images, names):
    origin.serve("/a.jpg", jpeg)
    text = f"Images\n{origin.url('/a.jpg')} {origin.url('/gone.jpg')}\n"
    request_id = upload(text, headers={"Prefer": "wait=20"}).json["request_id"]

    body = client.get(f"/status/{request_id}?images={images}").json

    assert list(body["images"]) == [origin.url(name) for name in names]


def test_images_can_be_left_out(idle, accepted):
    body = idle.get(f"/status/{accepted(urls(1))}?images=none&limit=1").json

    assert "images" not in body
    assert "next" not in body


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: '0' is not a whole number from 1 to 1000"),
        ("limit=1001", "limit: '1001' is not a whole number from 1 to 1000"),
        ("limit=many", "limit: 'many'"),
        ("images=broken", "one of pending, processing, completed, failed, cancelled, none"),
        ("cursor=%3F", "cursor: "),
        ("cursor=MS4x.", "cursor: "),
        ("cursor=MS4t", "cursor: "),
        ("cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Ljk5OTk", "cursor: "),
        ("cursor=äöü", "cursor: "),
        ("limit=1&limit=2", "the query parameter limit was sent 2 times"),
        ("page=2", "unknown query parameter 'page': allowed are limit, cursor, images"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(idle, accepted, query, message):
    reply = idle.get(f"/status/{accepted(urls(1))}?{query}")

    assert reply.status_code == 400
    assert message in reply.json["error"]


@pytest.mark.parametrize("request_id", [UNKNOWN, "1", "x" * 5_000, "%00", "..", "{}"])
def test_an_unknown_id_is_404(idle, request_id):
    reply = idle.get(f"/status/{request_id}")

    assert reply.status_code == 404
    assert reply.json == {"error": "Request ID not found"}


def test_an_id_may_be_written_in_capitals(idle, accepted):
    request_id = accepted(urls(1))

    assert idle.get(f"/status/{request_id.upper()}").json["request_id"] == request_id
