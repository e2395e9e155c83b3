"""Hosts that drip and clients that crawl hold nobody else up; figures come from `make hostile`."""

import io
import socket
from contextlib import ExitStack

import pytest
import requests

from tests.origin import Origin
from tests.service_process import service_process

CLIENTS = 200
DRIPS, GOOD = 8, 96


def test_what_does_not_drip_is_done_while_the_rest_still_drips(
    client, upload, origin, jpeg, wait_for
):
    with Origin("127.0.0.2") as slow:
        drips = [f"/drip-{number}.jpg" for number in range(DRIPS)]
        for number, path in enumerate(drips):
            slow.drip(path, part="headers" if number % 2 else "body", seconds=0.2)
        for number in range(GOOD):
            origin.serve(f"/{number}.jpg", jpeg)
        good = [origin.url(f"/{number}.jpg") for number in range(GOOD)]
        urls = [slow.url(path) for path in drips] + good

        request_id = upload("Images\n" + "\n".join(urls) + "\n").json["request_id"]
        status_url = f"/status/{request_id}?images=none"
        wait_for(lambda: client.get(status_url).json["progress"]["completed"] == GOOD)

        slow.wait_until(lambda: slow.running() == DRIPS)
        assert client.get(status_url).json["progress"]["remaining"] == DRIPS
        client.post(f"/cancel/{request_id}")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with service_process(tmp_path_factory.mktemp("slow")) as service:
        yield service.wait_until_ready()


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Drip: ",
        b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n",
    ],
    ids=["headers", "body"],
)
def test_clients_that_send_a_byte_at_a_time_hold_no_threads(service, begun):
    with ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            client.sendall(begun)
            clients.append(client)
        for _ in range(3):
            for client in clients:
                client.sendall(b"x")
            assert requests.get(f"{service.url}/healthz", timeout=30).json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["processed", "download", "samples"])
def test_a_file_is_handed_to_the_server_which_sends_it_without_a_thread(
    client, upload, origin, jpeg, path
):
    origin.serve("/a.jpg", jpeg)
    reply = upload(f"Images\n{origin.url('/a.jpg')}\n", headers={"Prefer": "wait=20"}).json
    (image,) = reply["images"].values()
    paths = {
        "processed": "/" + image["path"],
        "download": reply["output_csv_url"],
        "samples": "/samples/cat-400.jpg",
    }
    handed_over = []

    def file_wrapper(file, block_bytes=8_192):
        handed_over.append(file)
        return io.BytesIO(file.read())

    sent = client.get(paths[path], environ_overrides={"wsgi.file_wrapper": file_wrapper})

    assert sent.status_code == 200
    assert len(handed_over) == 1
    handed_over[0].close()
