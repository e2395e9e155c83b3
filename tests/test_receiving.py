"""What clients send before the application sees it: a shared room on the disk, small buffers."""

import os
import socket
import time
from contextlib import ExitStack, suppress

import pytest
import requests
from waitress.adjustments import Adjustments

from app import receiving
from app.budget import Budget
from app.receiving import Channel, Parser
from tests.service_process import service_process

MEBIBYTE = 1_048_576


@pytest.fixture
def budget():
    return Budget(100_000)


@pytest.fixture
def new_parser(budget):
    return lambda: Parser(Adjustments(), budget, min_free_bytes=0)


def post(length):
    return f"POST /upload HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode()


def begun(parser, received, announced=None):
    """A parser that has received so many bytes of a body of which one is still to come."""
    parser.received(post(announced or received + 1))
    parser.received(bytes(received))
    return parser


def refusal(parser):
    return parser.completed and (parser.error.code, parser.error.body)


def test_bodies_share_a_room_and_the_one_that_finds_none_is_refused(new_parser):
    first = begun(new_parser(), 30_000, announced=90_000)
    second = begun(new_parser(), 30_000, announced=60_000)

    first.received(bytes(30_000))
    second.received(bytes(9_000))
    assert not second.error
    second.received(bytes(9_000))

    assert refusal(second) == (503, "too many uploads are being received: try again shortly")
    assert not first.error


def test_what_can_find_no_room_is_refused_by_its_announcement(new_parser):
    kept = begun(new_parser(), 60_000)
    late = new_parser()

    late.received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 50000\r\n\r\n")

    assert refusal(late)[0] == 503
    assert not late.expect_continue
    assert not kept.error


def test_announcing_takes_no_room_from_others(new_parser):
    silent = [new_parser() for _ in range(50)]
    for parser in silent:
        parser.received(post(90_000))

    assert not begun(new_parser(), 90_000).error


def test_a_chunked_body_counts_as_it_grows(new_parser):
    kept = begun(new_parser(), 60_000)
    endless = new_parser()
    endless.received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    received = 0
    while not endless.completed:
        received += endless.received(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    assert refusal(endless)[0] == 503
    assert received < 45_000
    assert not kept.error


def test_a_body_that_was_answered_gives_its_room_back(new_parser, budget):
    parser = begun(new_parser(), 90_000)

    parser.close()

    assert not begun(new_parser(), 90_000).error


@pytest.mark.parametrize(
    "sent", [b"1" * 5_000, b"0\r\nA: " + b"b" * 5_000], ids=["size", "trailer"]
)
def test_a_line_between_chunks_that_has_no_end_is_refused(new_parser, sent):
    parser = new_parser()
    parser.received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    parser.received(sent)

    assert refusal(parser) == (400, "a chunk's size or the trailer has no end")


def test_a_full_disk_is_503_before_the_body_is_sent(budget):
    parser = Parser(Adjustments(), budget, min_free_bytes=10**18)

    parser.received(post(50_000))

    assert refusal(parser) == (503, "the disk has no room for the body: try again later")


def test_a_disk_that_fills_up_meanwhile_is_503(new_parser, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("waitress.buffers.TempfileBasedBuffer.newfile", lambda _: full())
    parser = Parser(Adjustments(inbuf_overflow=1_000), Budget(100_000), min_free_bytes=0)

    begun(parser, 60_000)

    assert refusal(parser) == (503, "the disk has no room for the body: try again later")


class Server:
    """As much of waitress's as a channel asks for."""

    def __init__(self):
        self.active_channels = {}
        self.tasks = []

    def add_task(self, channel):
        self.tasks.append(channel)


@pytest.fixture
def channel():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(Server(), ours, "", Adjustments(), map={})
        yield channel
        channel.handle_close()


def test_whoever_sends_too_slowly_counts_as_silent(channel, monkeypatch):
    now = time.time()
    monkeypatch.setattr(receiving.time, "time", lambda: now)
    channel.received(b"GET / HTTP/1.1\r\n")

    for _ in range(100):
        now += 1
        channel.last_activity = now  # as waitress sets it, whenever a byte comes
        channel.received(b"A")

    assert now - channel.last_activity > 99


def test_whoever_sends_fast_enough_does_not(channel):
    channel.received(b"POST / HTTP/1.1\r\nContent-Length: 900000\r\n\r\n")
    channel.last_activity = now = time.time()

    channel.received(bytes(500_000))

    assert channel.last_activity == now


# The service


def post_bytes(service, size, *, chunked=False):
    def chunks():
        yield from (os.urandom(65_536) for _ in range(size // 65_536))

    return requests.post(
        f"{service.url}/upload", data=chunks() if chunked else bytes(size), timeout=30
    )


def test_bodies_under_way_leave_no_room_and_give_it_back_when_they_end(tmp_path, wait_for):
    with service_process(tmp_path, MAX_CSV_BYTES=1) as service, ExitStack() as stack:
        service.wait_until_ready()

        def is_full_with_one_more():
            client = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            with suppress(OSError):  # refused itself
                client.sendall(post(2 * MEBIBYTE) + bytes(2 * MEBIBYTE - 1))
            return post_bytes(service, 65_536).status_code == 503

        wait_for(is_full_with_one_more)
        refused = post_bytes(service, 65_536)

        assert "too many uploads" in refused.json()["error"]
        assert int(refused.headers["Retry-After"]) > 0
        assert requests.get(f"{service.url}/healthz", timeout=5).ok
        stack.close()
        wait_for(lambda: post_bytes(service, 65_536).status_code == 400)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_is_refused_midway_still_reads_why(tmp_path, chunked):
    with service_process(tmp_path, MAX_CSV_BYTES=1) as service:
        service.wait_until_ready()

        reply = post_bytes(service, 20 * MEBIBYTE, chunked=chunked)

        assert reply.status_code == 413
        assert "MAX_CSV_BYTES" in reply.json()["error"]
