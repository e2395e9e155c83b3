"""What a webhook's receiver is sent, and what its answer is taken for."""

import threading
import time

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.outbound import Outbound, Posted, PostFailed
from tests.origin import LoopbackOnly, Origin, head


@pytest.fixture
def origin():
    with Origin() as origin:
        yield origin


@pytest.fixture
def outbound(origin):
    return Outbound(
        guard=AddressGuard(parse_allowed_addresses(origin.address)),
        user_agent="Pressroom/test",
        fetch_timeout_seconds=5,
        max_image_bytes=100_000,
        open_socket=LoopbackOnly(),
    )


def test_body_and_headers_arrive_as_given(origin, outbound):
    origin.serve("/hook", b"thanks")
    headers = {"content-type": "application/json", "webhook-id": "msg_1"}

    posted = outbound.post(origin.url("/hook"), '{"name": "Ä"}'.encode(), headers)

    request = origin.requests[0]
    assert posted == Posted(200, None)
    assert (request.method, request.body) == ("POST", '{"name": "Ä"}'.encode())
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["user-agent"] == "Pressroom/test"


def test_nothing_of_one_post_is_sent_with_the_next(origin, outbound):
    origin.serve("/hook")
    outbound.post(origin.url("/hook"), b"a long body", {"webhook-id": "msg_1"})
    outbound.post(origin.url("/hook"), b"", {})

    assert origin.requests[1].body == b""
    assert "webhook-id" not in origin.requests[1].headers
    assert origin.connections == 1


def test_a_large_body_is_sent_at_once(origin, outbound):
    origin.serve("/hook")

    outbound.post(origin.url("/hook"), bytes(2_000_000), {}, timeout_seconds=5)

    assert len(origin.requests[0].body) == 2_000_000
    assert "expect" not in origin.requests[0].headers


@pytest.mark.parametrize("status", [200, 204, 400, 404, 410, 500])
def test_any_status_is_an_answer(origin, outbound, status):
    origin.serve("/hook", status=status)

    assert outbound.post(origin.url("/hook"), b"{}", {}).status == status


def test_a_redirect_is_not_followed(origin, outbound):
    origin.redirect("/hook", "/elsewhere", status=307)
    origin.serve("/elsewhere")

    assert outbound.post(origin.url("/hook"), b"{}", {}).status == 307
    assert origin.count("/elsewhere") == 0


def test_when_to_come_back_is_told(origin, outbound):
    origin.serve("/hook", status=429, headers=[("Retry-After", "90")])

    assert outbound.post(origin.url("/hook"), b"{}", {}) == Posted(429, 90.0)


def test_an_endless_answer_is_cut_off_and_its_status_counts(origin, outbound):
    origin.endless("/hook")

    assert outbound.post(origin.url("/hook"), b"{}", {}).status == 200


def test_an_answer_that_never_ends_is_left_at_the_deadline_and_its_status_counts(origin, outbound):
    origin.drip("/hook", seconds=0.1)

    assert outbound.post(origin.url("/hook"), b"{}", {}, timeout_seconds=0.3).status == 200


def test_a_status_to_go_on_is_no_answer(origin, outbound):
    origin.raw("/hook", head(100, []))

    with pytest.raises(PostFailed):
        outbound.post(origin.url("/hook"), b"{}", {})


def test_no_answer_in_time_is_a_failure(origin, outbound):
    origin.serve("/hook", gate=threading.Event())
    started = time.monotonic()

    with pytest.raises(PostFailed, match=r"^timeout after 0\.5 s$"):
        outbound.post(origin.url("/hook"), b"{}", {}, timeout_seconds=0.5)

    assert time.monotonic() - started < 1.5


def test_no_server_is_a_failure(origin, outbound):
    origin.close()

    with pytest.raises(PostFailed, match=r"^connect the host cannot be reached$"):
        outbound.post(origin.url("/hook"), b"{}", {})
