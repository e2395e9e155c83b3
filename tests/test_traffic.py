"""The log of a real service, as JSON: one line a request, and whose business each line is."""

import json
import uuid

import pytest
import requests

from tests.service_process import service_process

KEY = "ann-1-0123456789abcdef"
SECRET = "t0k3n-of-a-signed-url"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    settings = {"LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG", "API_KEYS": f"ann:{KEY}"}
    with service_process(folder, WORKER_PROCESSES=1, **settings) as service:
        yield service.wait_until_ready()


def lines(service):
    """Every line of the log; none is anything but JSON."""
    return [json.loads(line) for line in service.log().splitlines()]


def access(service, path):
    """What the log says of the HTTP requests for a path."""
    return [line for line in lines(service) if line["event"] == "http" and line["path"] == path]


def call(service, method, path, **kwargs):
    return requests.request(method, f"{service.url}{path}", headers=HEADERS, timeout=30, **kwargs)


def test_a_request_is_one_line_with_what_an_operator_asks_for(service):
    path = f"/status/{uuid.uuid4()}"

    call(service, "GET", f"{path}?cursor={SECRET}")

    (line,) = access(service, path)
    assert line.pop("elapsed_ms") >= 0
    assert line.pop("timestamp")
    assert line == {
        "event": "http",
        "level": "info",
        "logger": "app.api.traffic",
        "method": "GET",
        "path": path,
        "status": 404,
        "request_id": path.rpartition("/")[2],
    }


def test_every_line_of_a_job_says_whose_it_is(service, wait_for):
    file = {"file": ("a.csv", f"Images\n{service.url}/samples/cat-240.jpg?{SECRET}\n")}
    form = {"webhook_url": f"{service.url}/webhook"}
    request_id = call(service, "POST", "/upload", files=file, data=form).json()["request_id"]
    wait_for(lambda: any(line["event"] == "webhook tried" for line in lines(service)))

    told = [line["event"] for line in lines(service) if line.get("request_id") == request_id]

    assert {"request accepted", "http", "request ended", "webhook tried"} <= set(told)
    assert access(service, "/upload")[-1]["request_id"] == request_id
    assert SECRET not in service.log()


def test_a_link_that_lets_its_reader_open_an_image_is_not_told(service):
    folder = f"/processed/{uuid.uuid4()}"

    call(service, "GET", f"{folder}/1-1-a-cat-9f2c41d07ab3.jpg")

    assert len(access(service, f"{folder}/1-1-a-cat-….jpg")) == 1
    assert "9f2c41d07ab3" not in service.log()


def test_one_request_leaves_no_id_to_the_next_in_its_thread(service):
    call(service, "GET", f"/status/{uuid.uuid4()}")
    for _ in range(20):
        call(service, "GET", "/requests")

    assert not any("request_id" in line for line in access(service, "/requests"))


def test_what_machines_ask_all_the_time_is_told_at_debug_only(service):
    for path in ("/healthz", "/metrics"):
        call(service, "GET", path)

        assert {line["level"] for line in access(service, path)} == {"debug"}


def test_a_refused_call_is_told_without_what_it_sent(service):
    sent = {"Authorization": f"Bearer {SECRET}", "Cookie": f"pressroom_session={SECRET}"}
    path = f"/download/{uuid.uuid4()}"

    requests.get(f"{service.url}{path}", headers=sent, timeout=30)

    assert [line["status"] for line in access(service, path)] == [401]
    assert SECRET not in service.log()
    assert KEY not in service.log()
