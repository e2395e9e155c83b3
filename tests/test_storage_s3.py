"""A bucket: what the wire shows, what a bucket that refuses is told as, and who waits for it."""

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
import requests
from test_storage import keys, put, read

from app.errors import LostClaim, NotFound, StorageUnavailable
from app.storage import Copy, patience, s3
from app.storage.s3 import Bucket, S3Storage
from app.storage.spool import Spool
from tests import seaweed

ERROR = '<?xml version="1.0"?><Error><Code>{}</Code><Message>no</Message></Error>'


@pytest.fixture
def storage_of(tmp_path):
    """A function that makes a storage of a bucket."""

    def make(bucket):
        return S3Storage(bucket, Spool(tmp_path / "tmp", 0))

    return make


@pytest.fixture
def storage(storage_of, bucket):
    return storage_of(bucket)


class Imitation:
    """Answers as told, where no real server can be made to; `calls` are methods and headers."""

    def __init__(self, url):
        self.bucket = Bucket("b", "", url, "us-east-1", "key-id", "the-secret-key")
        self.answers = []
        self.knows_conditions = True
        self.missing_bytes = self.dripped_bytes = 0
        self.calls = []
        self.at_once = self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, method, path, headers):
        self.calls.append((method, path, headers))
        if "if-none-match" in headers and not self.knows_conditions:
            return 501, "NotImplemented"
        return self.answers.pop(0) if self.answers else (200, "")


@pytest.fixture
def imitation():
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self):
            with lock:
                imitation.at_once += 1
                imitation.most_at_once = max(imitation.most_at_once, imitation.at_once)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            imitation.gate.wait(20)
            with lock:
                imitation.at_once -= 1
                status, name = imitation.answer(self.command, self.path, dict(self.headers))
            body = ERROR.format(name).encode() if name else b""
            body += b"x" * imitation.dripped_bytes
            self.send_response(status)
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 15:00:00 GMT")
            self.send_header("Content-Length", str(len(body) + imitation.missing_bytes))
            self.end_headers()
            self.close_connection = bool(imitation.missing_bytes)
            if self.command != "HEAD":
                self.send_body(body)

        def send_body(self, body):
            if not imitation.dripped_bytes:
                self.wfile.write(body)
                return
            with suppress(OSError):  # nobody wants it any longer
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.01)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        imitation = Imitation(f"http://127.0.0.1:{server.server_port}")
        yield imitation
        imitation.gate.set()
        server.shutdown()


@contextmanager
def refused(*words):
    with pytest.raises(StorageUnavailable) as raised:
        yield
    for word in words:
        assert word in str(raised.value)


# What the wire shows


def test_keys_lie_below_the_prefix_as_they_are(storage, bucket):
    put(storage, "processed/id/1-1-a.jpg")

    whole = s3._connect(replace(bucket, prefix=""))
    found = [one["path"] for page in obstore.list(whole, bucket.prefix) for one in page]
    assert found == [f"{bucket.prefix}/processed/id/1-1-a.jpg"]


def test_without_a_prefix_keys_begin_the_bucket(storage_of, bucket, s3):
    name = f"b{bucket.prefix[-20:]}"
    seaweed.make_bucket(s3, name)
    storage = storage_of(replace(bucket, name=name, prefix=""))

    put(storage, "processed/id/1-1-a.jpg", b"picture")

    assert read(storage, "processed/id/1-1-a.jpg") == b"picture"
    assert keys(storage, "processed") == ["processed/id/1-1-a.jpg"]


def test_an_image_carries_its_type_for_those_who_read_it_from_the_bucket(storage, bucket):
    names = {"1-1-a.jpg": "image/jpeg", "1-2-b.webp": "image/webp", "1-3-c.avif": "image/avif"}
    storage.put_all({f"processed/id/{name}": b"picture" for name in names})
    storage.copy_all([Copy("processed/id/1-2-b.webp", "processed/id2/1-2-b.webp", 7)])

    for path, media_type in [
        *((f"id/{name}", media_type) for name, media_type in names.items()),
        ("id2/1-2-b.webp", "image/webp"),
    ]:
        url = f"{bucket.endpoint_url}/{bucket.name}/{bucket.prefix}/processed/{path}"
        reply = requests.get(url, timeout=10)
        assert reply.headers["Content-Type"] == media_type
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_a_put_says_that_nothing_may_be_overwritten(storage_of, imitation):
    storage_of(imitation.bucket).put_all({"processed/id/a.jpg": b"picture"})

    ((method, path, headers),) = imitation.calls
    assert (method, path) == ("PUT", "/b/processed/id/a.jpg")
    assert headers["if-none-match"] == "*"


def test_a_server_that_knows_no_conditions_is_asked_once(storage_of, imitation):
    storage = storage_of(imitation.bucket)
    imitation.knows_conditions = False

    storage.put_all({"processed/id/a.jpg": b"picture"})
    imitation.calls.clear()
    storage.put_all({"processed/id/b.jpg": b"picture"})

    assert len(imitation.calls) == 1


def test_many_are_put_side_by_side_but_not_all_at_once(storage_of, imitation, wait_for):
    imitation.gate.clear()
    files = {f"processed/id/{n}.jpg": b"x" for n in range(100)}
    putting = threading.Thread(target=storage_of(imitation.bucket).put_all, args=(files,))
    putting.start()

    wait_for(lambda: imitation.at_once == s3.CALLS_AT_ONCE)
    imitation.gate.set()
    putting.join(20)

    assert len(imitation.calls) == 100
    assert imitation.most_at_once == s3.CALLS_AT_ONCE


def test_a_claim_is_held_while_a_bucket_lets_wait(storage_of, imitation, monkeypatch):
    monkeypatch.setattr(s3, "LOOK_SECONDS", 0.01)
    imitation.gate.clear()

    storage_of(imitation.bucket).put_all({"processed/id/a.jpg": b"x"}, imitation.gate.set)

    assert len(imitation.calls) == 1


def test_a_claim_that_is_lost_is_told_once_nothing_is_being_written(
    storage_of, imitation, monkeypatch
):
    monkeypatch.setattr(s3, "LOOK_SECONDS", 0.01)
    imitation.gate.clear()
    files = {f"processed/id/{n}.jpg": b"x" for n in range(3)}

    def lose():
        imitation.gate.set()
        raise LostClaim("another has it")

    with pytest.raises(LostClaim):
        storage_of(imitation.bucket).put_all(files, lose)

    assert len(imitation.calls) == 3


def test_put_returns_when_the_bucket_has_said_yes_and_not_before(storage_of, imitation, wait_for):
    imitation.gate.clear()
    storage = storage_of(imitation.bucket)
    putting = threading.Thread(target=put, args=(storage, "outputs/id/1.csv"))
    putting.start()

    wait_for(lambda: imitation.at_once)
    assert putting.is_alive()
    imitation.gate.set()
    putting.join(20)

    assert not putting.is_alive()


def test_a_large_file_that_breaks_off_is_not_to_be_seen(storage):
    class Torn:
        def __init__(self, file):
            self.file, self.parts = file, 0

        def read(self, size=-1):
            self.parts += 1
            if self.parts > 2:
                raise OSError(5, "Input/output error")
            return self.file.read(size)

        def __getattr__(self, name):
            return getattr(self.file, name)

    with refused("Input/output error"), storage.create("uploads/id") as file:
        file.write(bytes(30_000_000))
        storage.put("uploads/id/upload", Torn(file))

    assert keys(storage, "uploads") == []


def test_the_proxies_of_the_environment_are_not_used(storage_of, bucket, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    for host in ("127.0.0.1", "localhost"):
        endpoint_url = bucket.endpoint_url.replace("127.0.0.1", host)
        storage_of(replace(bucket, endpoint_url=endpoint_url)).try_out()


def test_ages_are_told_by_the_bucket_s_clock(storage, monkeypatch):
    class AnHourAhead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr(s3, "datetime", AnHourAhead)
    storage.try_out()
    put(storage, "processed/id/a.jpg")

    assert list(storage.find_older("processed/id", 60)) == []
    assert keys(storage, "processed/id") == ["processed/id/a.jpg"]


# A bucket that refuses


def test_a_bucket_that_is_not_there_is_told_wherever_it_is_missed(storage_of, bucket):
    missing = replace(bucket, name="nowhere")
    for act in (
        lambda storage: put(storage, "processed/id/a.jpg"),
        lambda storage: storage.put_all({"processed/id/a.jpg": b"x"}),
        lambda storage: storage.open("processed/id/a.jpg"),
        lambda storage: storage.delete("processed/id"),
        lambda storage: keys(storage, "processed"),
        lambda storage: storage.check_room(),
    ):
        with refused("the bucket nowhere does not exist", "STORAGE_URL"):
            act(storage_of(missing))


def test_a_wrong_secret_is_told_and_not_repeated(storage_of, bucket):
    wrong = replace(bucket, secret_access_key="not-the-owner-s-secret")

    with pytest.raises(StorageUnavailable) as raised:
        storage_of(wrong).try_out()

    assert "AWS_SECRET_ACCESS_KEY" in str(raised.value)
    assert bucket.name in str(raised.value)
    assert "not-the-owner-s-secret" not in f"{raised.value!r} {raised.value.__cause__} {wrong}"


def test_who_may_only_read_is_told_what_to_allow_and_reads_on(storage, storage_of, bucket):
    put(storage, "processed/id/a.jpg", b"picture")
    name, secret = seaweed.READER
    reading = storage_of(replace(bucket, access_key_id=name, secret_access_key=secret))

    with refused("denies s3:PutObject", "docs/storage.md"):
        reading.check_room()

    assert read(reading, "processed/id/a.jpg") == b"picture"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, "SlowDown"), "is busy (SlowDown)"),
        ((503, ""), "is busy (503)"),
        ((400, "ExpiredToken"), "AWS_SESSION_TOKEN"),
        ((403, "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        ((403, ""), "denies s3:PutObject"),
        ((403, "RequestTimeTooSkewed"), "clock"),
        ((400, "AuthorizationHeaderMalformed"), "AWS_REGION"),
        ((301, "PermanentRedirect"), "AWS_REGION"),
        ((507, "XMinioStorageFull"), "refuses (XMinioStorageFull)"),
    ],
)
def test_each_refusal_says_what_to_do(storage_of, imitation, monkeypatch, answer, words):
    monkeypatch.setitem(s3._RETRIES, "max_retries", 0)
    imitation.answers = [answer]

    with refused("the bucket b ", words):
        storage_of(imitation.bucket).put_all({"processed/id/a.jpg": b"x"})


NO_NAME = "http://" + "n" * 64
"""No label of a host name may be that long, so nobody is asked for it."""


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", NO_NAME], ids=["refused", "no such name"])
def test_a_server_that_cannot_be_reached_is_told(storage_of, bucket, url):
    with refused(f"the bucket {bucket.name} does not answer", "AWS_ENDPOINT_URL"):
        storage_of(replace(bucket, endpoint_url=url)).check_room()


def test_a_server_that_is_silent_is_given_up(storage_of, imitation, monkeypatch):
    monkeypatch.setitem(s3._CLIENT, "read_timeout", timedelta(seconds=0.2))
    monkeypatch.setitem(s3._RETRIES, "max_retries", 0)
    imitation.gate.clear()

    with refused("does not answer"):
        storage_of(imitation.bucket).put_all({"processed/id/a.jpg": b"x"})
    with refused("does not answer"):
        storage_of(imitation.bucket).open("processed/id/a.jpg")


def test_without_any_key_the_settings_to_make_are_named(storage_of, imitation, monkeypatch):
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    nobody = replace(imitation.bucket, access_key_id="", secret_access_key="")

    with refused("cannot be asked without a key", "AWS_ACCESS_KEY_ID"):
        storage_of(nobody).check_room()


def test_who_meets_another_that_puts_the_same_does_not_rely_on_it(storage_of, imitation):
    imitation.answers = [(409, "ConditionalRequestConflict")]

    storage_of(imitation.bucket).put_all({"processed/id/a.jpg": b"x"})

    assert len(imitation.calls) == 2


@pytest.mark.parametrize("answer", [(503, "SlowDown"), (500, "InternalError")])
def test_what_a_moment_s_trouble_refused_is_asked_again(storage_of, imitation, answer):
    imitation.answers = [answer, answer]

    storage_of(imitation.bucket).put_all({"processed/id/a.jpg": b"x"})

    assert len(imitation.calls) == 3


@pytest.mark.parametrize("missing_bytes", [1_000, 1_000_000])
def test_what_is_cut_short_on_its_way_is_no_file(storage_of, imitation, missing_bytes):
    imitation.missing_bytes = missing_bytes

    with refused("does not answer"):
        storage_of(imitation.bucket).open("outputs/id/1.csv")


def test_a_missing_file_is_no_reason_to_rest(storage):
    with pytest.raises(NotFound):
        storage.open("processed/id/a.jpg")

    put(storage, "processed/id/a.jpg", b"picture")
    assert read(storage, "processed/id/a.jpg") == b"picture"


# Who waits


def connections_to(urls):
    """The local ports of this process's connections to a server."""
    port = f":{int(urls['s3'].rpartition(':')[2]):04X}"
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            own.add(str(descriptor.readlink()))
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {line[1] for line in lines if line[2].endswith(port) and f"socket:[{line[9]}]" in own}


def test_after_a_refusal_others_are_refused_at_once_until_one_finds_it_back(
    storage_of, imitation, monkeypatch
):
    monkeypatch.setitem(s3._RETRIES, "max_retries", 0)
    clock = [time.monotonic()]
    monkeypatch.setattr(patience.time, "monotonic", lambda: clock[0])
    storage = storage_of(imitation.bucket)
    imitation.answers = [(503, "SlowDown")]
    for _ in range(3):
        with refused("SlowDown"):
            storage.put_all({"processed/id/a.jpg": b"x"})
    assert len(imitation.calls) == 1

    clock[0] += patience.REST_SECONDS
    storage.put_all({"processed/id/a.jpg": b"x"})
    storage.put_all({"processed/id/b.jpg": b"x"})

    assert len(imitation.calls) == 3


@pytest.mark.parametrize("size", [1_000, 100_000], ids=["in memory", "as a file"])
def test_an_object_that_drips_is_given_up(storage_of, imitation, monkeypatch, size):
    monkeypatch.setattr(s3, "OBJECT_SECONDS", 0.2)
    imitation.dripped_bytes = size

    with refused("sends too slowly", "not within 0 s"):
        storage_of(imitation.bucket).open("outputs/id/1.csv")


def test_whether_a_file_is_there_is_asked_without_fetching_it(storage_of, imitation):
    assert storage_of(imitation.bucket).has("processed/id/a.jpg")

    ((method, *_),) = imitation.calls
    assert method == "HEAD"


@pytest.mark.parametrize("fault", ["no room for it", "a torn file"])
def test_who_found_out_nothing_of_the_bucket_leaves_the_turn_to_the_next(
    storage_of, imitation, monkeypatch, fault
):
    monkeypatch.setitem(s3._RETRIES, "max_retries", 0)
    monkeypatch.setattr(patience, "REST_SECONDS", 0)
    storage = storage_of(imitation.bucket)
    imitation.answers = [(503, "SlowDown"), (404, "NoSuchKey")]
    with refused("SlowDown"):
        storage.open("processed/id/a.jpg")

    trouble = StorageUnavailable if fault == "no room for it" else OSError
    with suppress(StorageUnavailable), storage._calling(storage._reading, "s3:GetObject"):
        raise trouble(fault)

    with pytest.raises(NotFound):
        storage.open("processed/id/a.jpg")


def test_a_bucket_that_has_just_taken_a_file_is_not_tried_out(storage_of, imitation):
    storage = storage_of(imitation.bucket)
    storage.put_all({"processed/id/a.jpg": b"x"})

    for _ in range(5):
        storage.check_room()

    assert len(imitation.calls) == 1


def test_who_reads_slowly_or_stops_holds_no_connection(storage, s3):
    put(storage, "uploads/id/upload", bytes(100_000))
    before = connections_to(s3)

    opened = [storage.open("uploads/id/upload") for _ in range(100)]
    for file in opened:
        file.read(10)

    assert len(connections_to(s3) - before) < 10
    for file in opened:
        file.close()
