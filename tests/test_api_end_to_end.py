"""Whole jobs as callers run them: by design A, by design B, and by following every URL."""

import csv
import io

import pytest
from PIL import Image

BASE_URL = "http://127.0.0.1:8000"


@pytest.fixture
def catalogue(origin, jpeg):
    """Two products with three images, one of which is gone."""
    for name in ("/a.jpg", "/b.jpg"):
        origin.serve(name, jpeg)
    a, b, gone = map(origin.url, ("/a.jpg", "/b.jpg", "/gone.jpg"))
    return f'S. No.,Product Name,Input Image Urls\n1,SKU1,"{a},{gone}"\n2,SKU2,{b}\n'


def rows_of(reply):
    return list(csv.DictReader(io.StringIO(reply.text)))


def test_every_url_of_the_output_opens_an_image_in_its_own_slot(
    upload, client, catalogue, wait_for
):
    status_url = upload(catalogue).json["status_url"]
    status = wait_for(lambda: (s := client.get(status_url).json)["status"] == "completed" and s)

    first, second = rows_of(client.get(status["output_csv_url"]))

    assert [first["Status"], second["Status"]] == ["partial", "completed"]
    assert first["Error"] == "2: http_404 Not Found"
    own, gone = first["Output Image Urls"].split(",")
    assert gone == ""
    for url in (own, second["Output Image Urls"]):
        image = client.get(url.removeprefix(BASE_URL))
        assert url.startswith(f"{BASE_URL}/processed/{status['request_id']}/")
        assert Image.open(io.BytesIO(image.data)).size == (64, 64)


def test_a_client_of_design_a_runs(upload, client, catalogue, wait_for):
    """Reads `request_id` and `status`, asks while it is processing, follows `output_csv_url`."""
    accepted = upload(catalogue).json
    status_path = f"/status/{accepted['request_id']}"
    status = accepted

    def has_ended():
        nonlocal status
        status = client.get(status_path).json
        return status["status"] != "processing"

    assert status["status"] == "processing"
    wait_for(has_ended)

    assert status["status"] == "completed"
    rows = rows_of(client.get(status["output_csv_url"]))
    assert [row["Product Name"] for row in rows] == ["SKU1", "SKU2"]


def test_a_client_of_design_a_that_expects_200_asks_for_it(upload, catalogue):
    reply = upload(catalogue, headers={"Prefer": "wait=20"})

    assert reply.status_code == 200
    assert {"request_id", "status", "output_csv_url"} <= set(reply.json)


def test_a_client_of_design_b_runs(upload, client, catalogue, origin, database, wait_for):
    """Expects 202, finds images by URL, is called at /webhook, reads the view `requests`."""
    reply = upload(catalogue, webhook_url=f"{BASE_URL}/webhook")
    assert reply.status_code == 202
    request_id = reply.json["request_id"]
    view = database.client[database.name]["requests"]

    found = wait_for(lambda: view.find_one({"request_id": request_id, "status": "Completed"}))

    images = client.get(f"/status/{request_id}").json["images"]
    assert {url: image["status"] for url, image in images.items()} == {
        origin.url("/a.jpg"): "completed",
        origin.url("/gone.jpg"): "failed",
        origin.url("/b.jpg"): "completed",
    }
    assert found["images"][origin.url("/a.jpg")]["path"] == images[origin.url("/a.jpg")]["path"]
    assert found["output_csv"].startswith("outputs/")


def test_a_receiver_of_design_b_is_called_with_plain_json(upload, client, catalogue, origin):
    origin.serve("/hook", b"")

    request_id = upload(catalogue, webhook_url=origin.url("/hook")).json["request_id"]

    origin.wait_until(lambda: origin.count("/hook"))
    call = next(request for request in origin.requests if request.path == "/hook")
    reply = client.post("/webhook", data=call.body)
    assert (call.method, call.headers["content-type"]) == ("POST", "application/json")
    assert reply.json == {"status": "received"}
    (event,) = client.get("/webhook").json["events"]
    assert event["payload"]["request_id"] == request_id
    assert event["payload"]["status"] == "completed"
    assert event["payload"]["output_csv_url"] == f"{BASE_URL}/download/{request_id}"
