"""`GET /processed/<id>/<name>` and `GET /samples/<name>`: whole, safe to open, and nothing else."""

import io

import pytest
from PIL import Image

from app.api.lazy import LazyServices
from app.config import PROJECT_DIR
from app.errors import DatabaseUnavailable
from app.models import OutputFormat

ID = "0b9f3c1e-5a44-4c8e-9d7b-2f6a1c0e8d35"
SAMPLES = PROJECT_DIR / "samples"
MEDIA_TYPES = {
    OutputFormat.JPEG: "image/jpeg",
    OutputFormat.PNG: "image/png",
    OutputFormat.WEBP: "image/webp",
    OutputFormat.AVIF: "image/avif",
}


@pytest.fixture
def without_database(client_of, settings):
    """A client of an app whose database never answers."""

    def build(settings):
        raise DatabaseUnavailable("the database does not answer")

    client = client_of(settings)
    client.application.extensions["pressroom"] = LazyServices(settings, build=build)
    return client


@pytest.fixture
def image_path(upload, origin, jpeg):
    """A function that compresses an image; the path that its URL has."""

    def make(format_=OutputFormat.JPEG):
        origin.serve("/a.jpg", jpeg)
        text = f"Images\n{origin.url('/a.jpg')}\n"
        body = upload(text, format=format_.value, headers={"Prefer": "wait=20"}).json
        (image,) = body["images"].values()
        return image["output_url"].removeprefix("http://127.0.0.1:8000")

    return make


@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_an_image_comes_with_the_type_that_was_written(client, image_path, format_):
    reply = client.get(image_path(format_))

    assert reply.status_code == 200
    assert reply.content_type == MEDIA_TYPES[format_]
    with Image.open(io.BytesIO(reply.data)) as image:
        assert (image.format, image.size) == (format_.name, (64, 64))


def test_an_image_may_be_kept_for_ever_and_does_nothing_when_opened(client, image_path):
    path = image_path()

    headers = client.get(path).headers

    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert (
        headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
    )
    assert headers["ETag"] == f'"{path.rpartition("/")[2]}"'


def test_who_has_an_image_already_is_told_so(client, image_path):
    path = image_path()
    etag = client.get(path).headers["ETag"]

    reply = client.get(path, headers={"If-None-Match": etag})

    assert (reply.status_code, reply.data) == (304, b"")
    assert reply.headers["ETag"] == etag
    assert "immutable" in reply.headers["Cache-Control"]


def test_head_tells_the_length_without_the_image(client, image_path):
    path = image_path()

    reply = client.head(path)

    assert (reply.status_code, reply.data) == (200, b"")
    assert int(reply.headers["Content-Length"]) == len(client.get(path).data)


def test_images_are_served_while_the_database_is_away(image_path, without_database):
    assert without_database.get(image_path()).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"{ID}/1-1-a-0123456789ab.jpg",
        f"{ID}/.tmp-abc",
        f"{ID}/1-1-a-0123456789ab.html",
        f"{ID}/..",
        f"{ID}/{'a' * 5_000}.jpg",
        f"{ID}/%00.jpg",
        "no-uuid/1-1-a-0123456789ab.jpg",
        "../run.jpg",
        "%2e%2e/run.jpg",
    ],
)
def test_what_is_no_image_of_ours_is_404(without_database, path):
    reply = without_database.get(f"/processed/{path}")

    assert reply.status_code == 404
    assert reply.json == {"error": "Image not found"}
    assert reply.headers["Cache-Control"] == "no-store"


# Samples


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("cat-240.jpg", "image/jpeg"),
        ("badge-300.png", "image/png"),
        ("cat-ear-200.webp", "image/webp"),
        ("coffee-360.avif", "image/avif"),
        ("cat-eyes-220.gif", "image/gif"),
        ("rocket-nose-200.bmp", "image/bmp"),
        ("wood-200.tiff", "image/tiff"),
    ],
)
def test_a_sample_comes_as_it_is(without_database, name, media_type):
    reply = without_database.get(f"/samples/{name}")

    assert reply.status_code == 200
    assert reply.content_type == media_type
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.data == (SAMPLES / name).read_bytes()


def test_the_sample_catalogue_leads_to_this_very_service(client_of, settings):
    moved = settings.model_copy(update={"base_url": "https://images.example.com"})

    reply = client_of(moved).get("/samples/catalog.csv")

    assert reply.content_type == "text/csv; charset=utf-8"
    original = (SAMPLES / "catalog.csv").read_text(encoding="utf-8")
    assert reply.text == original.replace("http://127.0.0.1:8000", "https://images.example.com")
    assert "https://images.example.com/samples/" in reply.text


@pytest.mark.parametrize(
    "name",
    [
        "nothing.jpg",
        "README.md",
        "make_samples.py",
        "originals",
        "..",
        "%2e%2e%2frun.py",
        "%00.jpg",
    ],
)
def test_what_is_no_sample_is_404(without_database, name):
    reply = without_database.get(f"/samples/{name}")

    assert reply.status_code == 404
    assert reply.json["error"]
