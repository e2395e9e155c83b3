"""`python run.py` as a process: starts, serves beside slow clients, stops."""

import io
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import pytest
import requests

from tests.service_process import PROJECT, environment, free_port, service_process

SLOW_CLIENTS = 200


@pytest.fixture
def service(tmp_path):
    with service_process(tmp_path) as service:
        yield service.wait_until_ready()


def upload(service, url, **fields):
    file = {"file": ("catalog.csv", io.BytesIO(f"Images\n{url}\n".encode()))}
    return requests.post(f"{service.url}/upload", files=file, data=fields, timeout=30)


def test_a_request_is_worked_off_and_its_image_opens(service):
    url = f"{service.url}/samples/cat-240.jpg"
    reply = requests.post(
        f"{service.url}/upload",
        files={"file": ("catalog.csv", f"Images\n{url}\n")},
        headers={"Prefer": "wait=20"},
        timeout=30,
    )

    image = reply.json()["images"][url]
    picture = requests.get(image["output_url"], timeout=10)
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert len(picture.content) == image["bytes_out"] < image["bytes_in"]


@pytest.mark.parametrize("sent", ["headers", "body"])
def test_healthz_answers_while_many_clients_send_a_byte_at_a_time(service, sent):
    start = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
    clients = []
    try:
        for _ in range(SLOW_CLIENTS):
            client = socket.create_connection(("127.0.0.1", service.port), timeout=10)
            client.sendall(start if sent == "headers" else start + b"\r\n")
            clients.append(client)
        for client in clients:
            client.sendall(b"x")

        assert requests.get(f"{service.url}/healthz", timeout=5).json() == {"status": "ok"}
        for client in clients:
            client.sendall(b"x")
        assert requests.get(f"{service.url}/healthz", timeout=5).json() == {"status": "ok"}
    finally:
        for client in clients:
            client.close()


def test_a_taken_port_stops_the_start_with_a_line_that_shows_another(service, tmp_path):
    second = subprocess.run(
        [sys.executable, "run.py"],
        cwd=PROJECT,
        env=environment(tmp_path / "second", service.port),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert second.returncode == 1
    assert f"PORT={service.port + 1} make run" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PORT": "eighty"}, "PORT: "),
        ({"HOST": "0.0.0.0"}, "BASE_URL is needed with HOST=0.0.0.0"),
        ({"WEBHOOK_SECRET": "whsec_c2hvcnQ="}, "WEBHOOK_SECRET: "),
        ({"ALLOWED_ADDRESSES": "localhost"}, "ALLOWED_ADDRESSES: "),
        ({"DATA_DIR": "/etc/passwd"}, "DATA_DIR: /etc/passwd cannot be used as a folder"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_with_its_name(tmp_path, settings, message):
    ran = subprocess.run(
        [sys.executable, "run.py"],
        cwd=PROJECT,
        env=environment(tmp_path, free_port()) | settings,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "c2hvcnQ=" not in ran.stderr


def test_a_setting_that_only_the_database_can_judge_stops_the_start_too(tmp_path, database):
    database.client[database.name].drop_collection("requests")
    database.client[database.name]["requests"].insert_one({})
    uri = "mongodb://" + quote(database.client.address[0], safe="")
    settings = {"MONGODB_URI": uri, "MONGODB_DATABASE": database.name}

    with service_process(tmp_path, **settings) as service:
        assert service.process.wait(30) == 1

    assert "Pressroom cannot start: MONGODB_DATABASE: " in service.log()
    assert "Traceback" not in service.log()


@pytest.fixture
def silent_origin():
    """Accepts connections and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted, held, stopping = threading.Event(), [], threading.Event()

    def accept():
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not stopping.is_set():
                if selector.select(timeout=0.1):
                    held.append(listener.accept()[0])
                    accepted.set()

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg", accepted
    stopping.set()
    thread.join()
    for connection in (*held, listener):
        connection.close()


def test_sigterm_during_a_fetch_that_hangs_ends_with_0_within_25_seconds(service, silent_origin):
    url, accepted = silent_origin
    assert upload(service, url).status_code == 202
    assert accepted.wait(20)

    began = time.monotonic()
    service.process.send_signal(signal.SIGTERM)

    assert service.process.wait(30) == 0
    assert time.monotonic() - began < 25
    assert "Traceback" not in service.log()


def test_impatient_signals_do_not_break_off_a_stop(service, wait_for):
    service.process.send_signal(signal.SIGINT)
    wait_for(lambda: "stopping" in service.log())
    while service.process.poll() is None:
        service.process.send_signal(signal.SIGINT)
        service.process.send_signal(signal.SIGTERM)

    assert service.process.returncode == 0
    assert "stopped" in service.log()
    assert "Traceback" not in service.log()
