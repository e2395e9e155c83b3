"""What goes out tells nothing of this machine, of secrets, or of what a picture was sent with."""

import base64
import io
import json
import uuid

import pytest
import requests
from PIL import Image
from test_compress import coded
from test_compress_containers import MARKER, marked

from app.api.lazy import LazyServices
from app.config import PROJECT_DIR
from tests.service_process import PROJECT, service_process

KEY = "ann-1-0123456789abcdef"
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
LOGIN = "me:hunter2"
TOKEN = "t0k3n-of-a-signed-url"
TRACES = ("Traceback", 'File "', "site-packages/")
NOWHERE = str(uuid.uuid4())
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def assert_silent(text, *hidden):
    for word in (*TRACES, *hidden):
        assert word not in text, f"{word} in {text[max(0, text.find(word) - 200) :][:400]}"


def said(reply):
    """All of a reply, whatever it was got with."""
    return f"{reply.headers}\n{reply.text}"


# An error that nobody foresaw, on every route


class Broken(LazyServices):
    """Fails wherever a view turns, and names what it should not."""

    def get(self, timeout_seconds=0):
        raise RuntimeError(f"mongodb://{LOGIN}@db in {PROJECT_DIR}/.data")

    storage = samples = property(get)


def test_no_route_tells_what_went_wrong_inside(client_of, settings):
    client = client_of(settings)
    client.application.extensions["pressroom"] = Broken(settings)
    catalog = (io.BytesIO(b"Images\nhttp://a/b.jpg\n"), "a.csv")
    bodies = {"/upload": {"file": catalog}, "/session": {}}
    statuses = set()
    for rule in client.application.url_map.iter_rules():
        path = rule.rule.replace("<request_id>", NOWHERE).replace("<name>", "a.jpg")
        for method in rule.methods & {"GET", "POST", "DELETE"}:
            reply = client.open(path, method=method, data=bodies.get(rule.rule, b"{}"))
            statuses.add((rule.rule, reply.status_code))
            assert_silent(said(reply), "hunter2", str(PROJECT_DIR), "RuntimeError")

    failed = {rule for rule, status in statuses if status == 500}
    assert failed >= {"/upload", "/webhook", "/status/<request_id>", "/samples/<name>"}


# Errors of a real service, and its log


@pytest.fixture
def service(tmp_path):
    settings = {
        "API_KEYS": f"ann:{KEY}",
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "LOG_LEVEL": "DEBUG",
        "WORKER_PROCESSES": 1,
        "RATE_LIMIT": "1000/minute",
    }
    with service_process(tmp_path, **settings) as service:
        yield service.wait_until_ready()


def call(service, method, path, **kwargs):
    kwargs = {"headers": AUTHORIZED, "timeout": 30} | kwargs
    return requests.request(method, f"{service.url}{path}", **kwargs)


def upload(service, text, **fields):
    file = {"file": ("../../etc/catalog.csv", text)}
    headers = AUTHORIZED | {"Prefer": "wait=20"}
    return call(service, "POST", "/upload", files=file, data=fields, headers=headers)


def faulty_calls(service, request_id):
    """On every route: what is malformed, missing, not allowed or too much."""
    deep = "../" * 9 + "etc/passwd"
    for path in (
        f"/status/{request_id}?cursor=%00",
        f"/status/{deep}",
        f"/download/{request_id}?formulas=no",
        f"/download/{NOWHERE}",
        f"/processed/{request_id}/{deep}",
        f"/processed/{request_id}/%00.jpg",
        f"/processed/{request_id}/",
        "/samples/%2e%2e%2f.env",
        "/samples/\u00e9%ff",
        "/webhook?cursor=zz",
        "/readyz?x=1",
        "/nowhere",
    ):
        yield call(service, "GET", path)
        yield call(service, "GET", path, headers={"Authorization": f"Bearer x{KEY}"})
    for path in ("/upload", "/webhook", "/session", f"/redeliver/{request_id}", "/status"):
        for body in (b"\xff\0", b"{" * 70_000):
            for kind in ("application/json", "multipart/form-data; boundary=x", "\xff"):
                yield call(
                    service, "POST", path, data=body, headers=AUTHORIZED | {"Content-Type": kind}
                )
        yield call(service, "POST", path, headers={"Origin": "https://evil.example.com"})
    yield call(service, "PUT", "/upload")
    yield upload(service, "no,image,column\n")
    yield upload(service, f"Images\nhttp://{LOGIN}@a.example/b.jpg\n")
    yield upload(service, "Images\nhttp://a/b.jpg\n", webhook_url=f"http://{LOGIN}@a.example/")


def test_a_real_service_tells_nothing_in_replies_and_log(service, origin, jpeg, tmp_path, wait_for):
    hidden = [str(tmp_path), str(PROJECT), KEY, WEBHOOK_SECRET, WEBHOOK_SECRET[6:], LOGIN]
    origin.serve(f"/a.jpg?sig={TOKEN}", jpeg)
    origin.redirect("/away.jpg", f"http://{LOGIN}@127.0.0.1/?sig={TOKEN}-too")
    origin.serve("/text.jpg", b"/etc/passwd")
    urls = [f"/a.jpg?sig={TOKEN}", "/away.jpg", "/text.jpg", "/missing.jpg"]
    rows = "\n".join(origin.url(url) for url in urls)

    # A whole job first, by a worker process, told to the own receiver: keys stop neither.
    done = upload(service, f"Images\n{rows}\n", webhook_url=f"{service.url}/webhook")
    assert done.json()["progress"]["completed"] == 1
    assert f"{TOKEN}-too" not in done.text
    events = wait_for(lambda: call(service, "GET", "/webhook").json()["events"])
    assert events[0]["payload"]["request_id"] == done.json()["request_id"]
    replies = [done, *faulty_calls(service, done.json()["request_id"])]

    # Then its folders are gone, and an upload meets that.
    for area in ("uploads", "processed", "outputs"):
        (tmp_path / area).rename(tmp_path / f"{area}-gone")
        (tmp_path / area).write_text("in the way")
    replies.append(upload(service, f"Images\n{rows}\n"))
    replies.append(call(service, "GET", "/readyz"))
    assert [reply.status_code for reply in replies[-2:]] == [503, 503]

    for reply in replies:
        assert_silent(said(reply), *hidden)
        assert reply.ok or json.loads(reply.text)["error"]
    service.process.terminate()
    service.process.wait(30)
    assert_silent(service.log(), *hidden, TOKEN)


# Pictures


SAMPLES = {
    "JPEG": "cat-240.jpg",
    "PNG": "badge-300.png",
    "WEBP": "cat-ear-200.webp",
    "GIF": "cat-eyes-220.gif",
    "AVIF": "coffee-360.avif",
    "TIFF": "wood-200.tiff",
    "BMP": "rocket-nose-200.bmp",
}


def planted(name):
    """A sample with the marker in its EXIF, XMP, comments, colour profile, and behind its end."""
    with Image.open(PROJECT_DIR / "samples" / SAMPLES[name]) as picture:
        picture.load()
        plain = picture.copy()
    plain.info.clear()
    source = coded(plain, name) if name == "BMP" else marked(name, plain)
    return source + b"<script>" + MARKER + b"</script>"


@pytest.mark.parametrize("format_", ["auto", "keep", "classic"])
def test_no_picture_goes_out_with_what_it_was_sent_with(client, upload, origin, format_):
    for name in SAMPLES:
        origin.serve(f"/{name}", planted(name), content_type="text/html")
    rows = "\n".join(origin.url(f"/{name}") for name in SAMPLES)

    body = upload(f"Images\n{rows}\n", format=format_, headers={"Prefer": "wait=20"}).json

    assert body["progress"]["completed"] == len(SAMPLES), body
    for image in body["images"].values():
        reply = client.get(image["output_url"].removeprefix("http://127.0.0.1:8000"))
        assert MARKER not in reply.data
        with Image.open(io.BytesIO(reply.data)) as picture:
            assert reply.content_type == Image.MIME[picture.format]
            assert not picture.getexif()
            assert not picture.info.keys() & {"icc_profile", "exif", "xmp", "comment"}
