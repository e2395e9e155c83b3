"""`GET /download/<id>/images.zip`: every image, in a part or whole, for as many as may."""

import io
import socket
import zipfile

import pytest
import requests

from app.errors import NotFound
from tests.service_process import service_process

UNKNOWN = "0b9f3c1e-5a44-4c8e-9d7b-2f6a1c0e8d35"
LARGE_BYTES = 100_000_000


@pytest.fixture
def finished(upload, origin, jpeg):
    """The id of a request with four rows: two images, one of them again, one broken, two."""
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg)
    a, b, gone = (origin.url(path) for path in ("/a.jpg", "/b.jpg", "/gone.jpg"))
    text = f"SKU,Images\n1,{a}\n2,{a}\n3,{gone}\n4,{a} {b}\n"
    return upload(text, headers={"Prefer": "wait=20"}).json["request_id"]


def contents(reply):
    assert reply.status_code == 200
    with zipfile.ZipFile(io.BytesIO(reply.data)) as found:
        assert found.testzip() is None
        return {name: found.read(name) for name in found.namelist()}


def image_names(client, request_id):
    images = client.get(f"/status/{request_id}").json["images"].values()
    return [image["path"].rpartition("/")[2] for image in images if image["path"]]


def test_it_holds_the_output_csv_and_every_image_once_under_its_own_name(client, finished):
    reply = client.get(f"/download/{finished}/images.zip")

    found = contents(reply)
    a, b = image_names(client, finished)
    assert list(found) == ["catalog-compressed.csv", a, b]
    assert found["catalog-compressed.csv"] == client.get(f"/download/{finished}").data
    assert found[a] == client.get(f"/processed/{finished}/{a}").data
    assert reply.headers["Content-Type"] == "application/zip"
    assert reply.headers["Content-Disposition"] == "attachment; filename=catalog-images.zip"


def test_a_part_holds_the_images_and_the_lines_of_its_rows(client, finished):
    reply = client.get(f"/download/{finished}/images.zip?rows=2-3")

    found = contents(reply)
    a, _ = image_names(client, finished)
    assert list(found) == ["catalog-compressed-rows-2-3.csv", a]
    lines = client.get(f"/download/{finished}").data.splitlines(keepends=True)
    assert found["catalog-compressed-rows-2-3.csv"] == lines[0] + lines[2] + lines[3]
    assert "filename=catalog-images-rows-2-3.zip" in reply.headers["Content-Disposition"]


def test_a_part_that_goes_beyond_the_end_ends_there(client, finished):
    reply = client.get(f"/download/{finished}/images.zip?rows=4-10000")

    a, b = image_names(client, finished)
    assert list(contents(reply)) == ["catalog-compressed-rows-4-4.csv", a, b]


def test_the_csv_in_it_has_urls_of_the_present_base_url(
    client_of, settings, build_services, finished
):
    moved = settings.model_copy(update={"base_url": "https://images.example.com"})
    client = client_of(moved, build_services(moved))

    found = contents(client.get(f"/download/{finished}/images.zip"))

    assert b"https://images.example.com/processed/" in found["catalog-compressed.csv"]


@pytest.mark.plain_site
def test_an_image_whose_file_is_gone_is_named_and_the_others_are_there(client, finished, settings):
    a, b = image_names(client, finished)
    (settings.processed_dir / finished / a).unlink()

    found = contents(client.get(f"/download/{finished}/images.zip"))

    assert list(found) == ["catalog-compressed.csv", b, "missing.txt"]
    assert found["missing.txt"].decode().splitlines()[1:] == [a]


def test_a_request_that_is_deleted_meanwhile_is_never_taken_for_a_smaller_one(
    client, services, finished, database
):
    batch = database.batches.find(finished)
    database.products.delete(finished)

    with pytest.raises(NotFound):
        b"".join(services.exports.images_zip(batch))


@pytest.mark.parametrize("request_id", [UNKNOWN, "catalog.csv", "%00"])
def test_an_unknown_id_is_404(client, request_id):
    reply = client.get(f"/download/{request_id}/images.zip")

    assert (reply.status_code, reply.json) == (404, {"error": "Output CSV not found"})


def test_before_the_end_it_is_404(client, unfinished):
    reply = client.get(f"/download/{unfinished}/images.zip")

    assert (reply.status_code, reply.json) == (404, {"error": "Output CSV not found"})


@pytest.mark.parametrize("rows", ["0-3", "3-2", "1", "1-", "a-b", "1-2,4-5", "٣-٤", "-1-2"])
def test_a_part_that_is_none_is_400_with_what_is_allowed(client, finished, rows):
    reply = client.get(f"/download/{finished}/images.zip", query_string={"rows": rows})

    assert reply.status_code == 400
    assert "is not a range of rows, counted from 1, such as 1-10000" in reply.json["error"]


def test_a_part_beyond_the_last_row_is_400_with_that_row(client, finished):
    reply = client.get(f"/download/{finished}/images.zip?rows=5-6")

    assert (reply.status_code, reply.json) == (
        400,
        {"error": "rows: '5-6' begins beyond the last row, which is 4"},
    )


def test_an_unknown_parameter_is_named(client, finished):
    reply = client.get(f"/download/{finished}/images.zip?row=1")

    assert reply.status_code == 400
    assert reply.json["error"] == "unknown query parameter 'row': allowed are rows"


def test_more_streams_than_a_quarter_of_the_threads_are_503(client, finished, free_places):
    free_places()

    reply = client.get(f"/download/{finished}/images.zip")

    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0


def test_every_stream_gives_its_place_back(client, finished, free_places, settings):
    for method in ("GET", "HEAD") * settings.web_threads:
        reply = client.open(f"/download/{finished}/images.zip", method=method)
        assert reply.status_code == 200
    for _ in range(settings.web_threads):
        reply = client.get(f"/download/{finished}/images.zip", buffered=False)
        next(iter(reply.response))
        reply.close()
    for _ in range(settings.web_threads):
        assert client.get(f"/download/{finished}/images.zip?rows=9-9").status_code == 400

    assert free_places() == settings.web_threads // 4


@pytest.fixture
def service(tmp_path):
    """A service on which one may stream, and the path of a ZIP that no buffer holds."""
    with service_process(tmp_path, WEB_THREADS=4) as service:
        service.wait_until_ready()
        text = f"Images\n{service.url}/samples/coffee-300.jpg\n"
        reply = requests.post(
            f"{service.url}/upload", files={"file": ("a.csv", text)}, headers={"Prefer": "wait=30"}
        )
        request_id = reply.json()["request_id"]
        (image,) = (tmp_path / "processed" / request_id).iterdir()
        with image.open("r+b") as file:
            file.truncate(LARGE_BYTES)
        service.zip_path = f"/download/{request_id}/images.zip"
        yield service


def test_a_client_that_hangs_up_makes_room_for_the_next_at_once(service, wait_for):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(f"GET {service.zip_path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        assert requests.get(service.url + service.zip_path, timeout=10).status_code == 503

    wait_for(lambda: requests.head(service.url + service.zip_path, timeout=10).ok, seconds=5)


def test_what_goes_wrong_midway_is_no_whole_download(service, tmp_path):
    with requests.get(service.url + service.zip_path, stream=True, timeout=10) as reply:
        chunks = reply.iter_content(1_000_000)
        for _ in range(20):  # the first may be no more than the CSV
            next(chunks)
        (image,) = tmp_path.glob("processed/*/*")
        with image.open("r+b") as file:
            file.truncate(0)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(chunks)
