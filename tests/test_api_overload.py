"""`python run.py` beside clients that send too much or read too little; and while MongoDB hangs."""

import os
import resource
import signal
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
import requests

from app.database.private_server import PrivateServer
from app.server import connection_limit
from tests.service_process import service_process

SLOW_CLIENTS = 200
IMAGE_BYTES = 20_000_000


@pytest.fixture
def service(tmp_path):
    with service_process(tmp_path) as service:
        yield service.wait_until_ready()


def health(service):
    """What `/healthz` answers, and after how many seconds."""
    began = time.monotonic()
    reply = requests.get(f"{service.url}/healthz", timeout=30)
    return reply.json(), time.monotonic() - began


def assert_healthy(service, seconds):
    answer, elapsed_seconds = health(service)
    assert answer == {"status": "ok"}
    assert elapsed_seconds < seconds


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@contextmanager
def connections(service, count, send=b""):
    """That many clients that have sent something and read nothing."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = socket.socket()
            stack.callback(client.close)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.settimeout(10)
            client.connect(("127.0.0.1", service.port))
            client.sendall(send)
            clients.append(client)
        yield clients


@pytest.fixture
def large_image(service):
    """The path of a stored image that no socket's buffer holds."""
    request_id, name = uuid.uuid4(), "1-1-large-0123456789ab.jpg"
    folder = service.folder / "processed" / str(request_id)
    folder.mkdir(parents=True)
    with (folder / name).open("wb") as file:
        file.truncate(IMAGE_BYTES)
    return f"/processed/{request_id}/{name}"


def test_healthz_answers_while_many_clients_read_nothing_or_a_byte_at_a_time(service, large_image):
    with connections(service, SLOW_CLIENTS, get(large_image)) as clients:
        for client in clients:
            assert client.recv(1) == b"H"
        assert_healthy(service, seconds=5)
        for client in clients:
            assert client.recv(1) == b"T"
        assert_healthy(service, seconds=5)

        whole = requests.get(service.url + large_image, timeout=30)
        assert len(whole.content) == IMAGE_BYTES


def test_clients_that_ask_twice_at_once_and_read_nothing_hold_no_threads(service, large_image):
    with connections(service, 30, 2 * get(large_image)):
        assert_healthy(service, seconds=5)


def test_of_two_requests_in_one_piece_the_first_is_answered_and_the_end_told(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(2 * get("/healthz"))
        reply = b"".join(iter(lambda: client.recv(65_536), b""))

    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.count(b'{"status":"ok"}') == 1
    assert b"Connection: close" in reply


def answer_to(service, sent):
    """The status, media type and JSON of the reply to raw bytes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(sent)
        head, _, body = b"".join(iter(lambda: client.recv(65_536), b"")).partition(b"\r\n\r\n")
    reply = requests.Response()
    reply._content = body
    return int(head.split()[1]), b"Content-Type: application/json" in head, reply.json()


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"POST /upload HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413, "MAX_CSV_BYTES"),
        (b"GET / HTTP/1.1\r\nA: ".ljust(262_144, b"x"), 431, "headers are too large"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400, "Invalid header"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
    ],
    ids=["body", "headers", "header", "encoding"],
)
def test_what_the_server_refuses_before_the_app_sees_it_is_json_too(service, sent, status, message):
    answered, is_json, body = answer_to(service, sent)

    assert (answered, is_json, list(body)) == (status, True, ["error"])
    assert message in body["error"]


def test_more_connections_than_the_soft_limit_of_files_hinder_nobody(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        started = service_process(tmp_path)
        service = started.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    try:
        service.wait_until_ready()
        with connections(service, 300):
            assert_healthy(service, seconds=5)
    finally:
        started.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("open_files", "connections"), [(20_000, 2_000), (4_096, 1_759), (1_024, 223), (256, 50)]
)
def test_connections_leave_files_for_the_work(open_files, connections):
    assert connection_limit(open_files, download_workers=64) == connections


@pytest.fixture
def frozen(tmp_path):
    """A context in which the MongoDB server of `mongodb_uri` runs and does not answer."""
    server = PrivateServer(tmp_path / "mongodb")
    uri = server.start()
    pid = int((tmp_path / "mongodb" / "mongodb" / "files" / "mongod.lock").read_text())

    @contextmanager
    def freeze():
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    freeze.uri = uri
    yield freeze
    server.stop()


def assert_pollers_hold_no_threads(service):
    with connections(service, 100, get(f"/status/{uuid.uuid4()}")) as pollers:
        assert_healthy(service, seconds=1.5)
        assert {poller.recv(12) for poller in pollers} == {b"HTTP/1.1 503"}


def test_a_database_that_hangs_is_told_soon_and_holds_no_threads(tmp_path, frozen, wait_for):
    with service_process(tmp_path, MONGODB_URI=frozen.uri) as service:
        service.wait_until_ready()

        def ask(path):
            return requests.get(service.url + path, timeout=60)

        def upload(_=None):
            file = {"file": ("a.csv", "Images\nhttp://127.0.0.1:1/a.jpg\n")}
            return requests.post(f"{service.url}/upload", files=file, timeout=60)

        request_id = upload().json()["request_id"]
        paths = [f"/status/{request_id}", f"/download/{request_id}", "/webhook"] * 8

        with frozen(), ThreadPoolExecutor(40) as pool:
            began = time.monotonic()
            replies = [*pool.map(upload, range(16)), *pool.map(ask, paths)]
            assert {reply.status_code for reply in replies} == {503}
            assert all("Retry-After" in reply.headers for reply in replies)
            assert time.monotonic() - began < 12
            assert_pollers_hold_no_threads(service)

        wait_for(lambda: ask("/webhook").ok)
        assert upload().status_code == 202


def test_polls_while_there_is_no_database_hold_no_threads(tmp_path, wait_for):
    with service_process(tmp_path, MONGODB_URI="mongodb://127.0.0.1:1") as service:
        wait_for(lambda: "services wait" in service.log())

        assert_pollers_hold_no_threads(service)
