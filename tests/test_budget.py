"""Memory that fetched images may hold, shared out."""

import threading

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.budget import ByteBudget
from app.errors import ImageFailed
from app.outbound import Outbound

PATIENCE_SECONDS = 10


def test_who_wants_more_than_is_left_waits_until_it_is_given_back():
    budget, got_it = ByteBudget(100), threading.Event()

    def want(size_bytes):
        with budget.holding() as reserve:
            reserve(size_bytes)
            got_it.set()

    with budget.holding() as reserve:
        reserve(60)
        waiting = threading.Thread(target=want, args=(41,))
        waiting.start()
        want(40)
        got_it.clear()
        assert waiting.is_alive()
    assert got_it.wait(PATIENCE_SECONDS)
    waiting.join()


def test_what_is_larger_than_all_of_it_gets_through_alone():
    budget = ByteBudget(100)

    with budget.holding() as reserve:
        reserve(1000)


@pytest.fixture
def outbound(origin):
    guard = AddressGuard(parse_allowed_addresses(origin.address))
    outbound = Outbound(
        guard=guard, user_agent="test", fetch_timeout_seconds=5, max_image_bytes=1000
    )
    yield outbound
    outbound.close()


def test_a_fetch_reserves_what_the_host_announces_and_only_for_what_it_wants(outbound, origin):
    origin.serve("/a.jpg", b"x" * 300)
    origin.redirect("/moved.jpg", origin.url("/a.jpg"))
    origin.serve("/gone.jpg", b"x" * 300, status=404)
    reserved = []

    outbound.fetch(origin.url("/moved.jpg"), 5, reserved.append)
    with pytest.raises(ImageFailed):
        outbound.fetch(origin.url("/gone.jpg"), 5, reserved.append)

    assert reserved == [300]


def test_a_fetch_of_unknown_length_reserves_the_limit(outbound, origin):
    origin.endless("/endless.jpg")
    reserved = []

    with pytest.raises(ImageFailed, match="larger than 1,000 bytes"):
        outbound.fetch(origin.url("/endless.jpg"), 5, reserved.append)

    assert reserved == [1000]
