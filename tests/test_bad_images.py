"""One request with every kind of bad image: each fails with its code, and every other is done."""

import csv
import io
import socket

import pytest
from PIL import Image

from app import making
from app.config import Settings


@pytest.fixture
def settings(settings, origin):
    """Small limits, and no address but the origin's and a dead port's."""
    limits = {
        "max_image_bytes": 200_000,
        "max_image_pixels": 1_000_000,
        "max_image_frames": 3,
        "fetch_timeout_seconds": 1.0,
        "allowed_addresses": f"{origin.address}, 127.0.0.1:{DEAD_PORT}",
    }
    return Settings(_env_file=None, **(settings.model_dump() | limits))


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


DEAD_PORT = unused_port()


def plain(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def animation(frames):
    pictures = [Image.new("RGB", (8, 8), (60 * number, 9, 9)) for number in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()


@pytest.fixture
def bad_urls(origin, jpeg):
    """URL by the beginning of what `Error` must say of it."""
    origin.redirect("/circle.jpg", origin.url("/circle.jpg"))
    origin.redirect("/inside.jpg", "http://192.168.0.1/a.jpg")
    origin.drip("/slow.jpg")
    origin.serve("/missing.jpg", status=404)
    origin.serve("/broken.jpg", status=500)
    origin.serve("/large.jpg", b"x" * 200_001)
    origin.serve("/page.jpg", b"<html><body>Sorry</body></html>")
    origin.serve("/icon.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    origin.serve("/half.jpg", jpeg[: len(jpeg) // 2])
    origin.serve("/cut.jpg", jpeg, content_length=len(jpeg) + 1)
    origin.serve("/huge.png", plain(1001, 1000))
    origin.serve("/film.gif", animation(4))
    return {
        "http_404 Not Found": origin.url("/missing.jpg"),
        "http_500 Internal Server Error": origin.url("/broken.jpg"),
        "connect ": f"http://127.0.0.1:{DEAD_PORT}/a.jpg",
        "timeout after 1 s": origin.url("/slow.jpg"),
        "too_many_redirects ": origin.url("/circle.jpg"),
        "forbidden_address ": origin.url("/inside.jpg"),
        "too_large ": origin.url("/large.jpg"),
        "not_an_image ": origin.url("/page.jpg"),
        "unsupported_format ": origin.url("/icon.svg"),
        "truncated ": origin.url("/half.jpg"),
        "truncated": origin.url("/cut.jpg"),
        "too_many_pixels ": origin.url("/huge.png"),
        "too_many_frames ": origin.url("/film.gif"),
    }


def test_each_bad_image_fails_with_its_code_and_every_other_is_done(
    client, upload, origin, jpeg, bad_urls, wait_for, monkeypatch
):
    monkeypatch.setattr(making, "WAITS_SECONDS", (0.01, 0.01))
    good = [f"/good-{number}.jpg" for number in range(len(bad_urls))]
    for path in good:
        origin.serve(path, jpeg)
    rows = [
        f'"{bad},{origin.url(path)}"' for bad, path in zip(bad_urls.values(), good, strict=True)
    ]

    status_url = upload("Images\n" + "\n".join(rows) + "\n").json["status_url"]
    status = wait_for(
        lambda: (body := client.get(status_url).json)["status"] == "completed" and body, 60
    )

    assert [u for u in bad_urls.values() if status["images"][u]["status"] != "failed"] == []
    assert status["progress"]["completed"] == status["progress"]["failed"] == len(bad_urls)
    for said, url in bad_urls.items():
        error = status["images"][url]["error"]
        assert f"{error['code']} {error['message']}".startswith(said)
    output = client.get(status["output_csv_url"]).text
    for row, said in zip(csv.DictReader(io.StringIO(output)), bad_urls, strict=True):
        assert row["Status"] == "partial"
        assert row["Error"].startswith(f"1: {said}")
        empty, _, done = row["Output Image Urls"].partition(",")
        assert (empty, done.startswith("http")) == ("", True)


def test_a_private_address_is_refused_with_the_very_line_to_set(client, upload, wait_for):
    url = "http://10.1.2.3:8080/a.jpg"

    status_url = upload(f"Images\n{url}\n").json["status_url"]
    status = wait_for(
        lambda: (body := client.get(status_url).json)["status"] == "completed" and body
    )

    error = status["images"][url]["error"]
    assert error["code"] == "forbidden_address"
    assert "ALLOWED_ADDRESSES=10.1.2.3:8080" in error["message"]
    assert error["permanent"] is True
