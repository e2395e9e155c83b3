"""Memory that images may hold, shared out."""

import threading

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.budget import Budget
from app.errors import ImageFailed, NoRoom
from app.outbound import Outbound

PATIENCE_SECONDS = 10


def test_who_wants_more_than_is_left_waits_until_it_is_given_back():
    budget, got_it = Budget(100), threading.Event()
    first, second = budget.room(), budget.room()
    first.take(60)

    def want():
        second.take(41)
        got_it.set()

    waiting = threading.Thread(target=want)
    waiting.start()
    budget.room().take(40)  # at once, and forgotten at once
    assert waiting.is_alive()
    first.shrink(59)

    assert got_it.wait(PATIENCE_SECONDS)
    waiting.join()


def test_what_is_larger_than_all_of_it_gets_through_alone():
    budget = Budget(100)
    budget.room().take(1000)

    room = budget.room()
    room.take(1000)

    assert not budget.room().take_up_to(1)


def test_a_room_grows_without_waiting_or_not_at_all():
    budget = Budget(100)
    room, other = budget.room(), budget.room()
    other.take(40)

    assert room.take_up_to(60)
    assert not room.take_up_to(61)
    assert room.take_up_to(10)
    assert room.size == 60


def test_a_room_is_given_back_with_what_it_was_for():
    budget = Budget(100)
    room = budget.room()
    room.take(100)

    del room

    assert budget.room().take_up_to(100)


def test_a_room_that_is_released_twice_is_given_back_once():
    budget = Budget(100)
    kept, room = budget.room(), budget.room()
    kept.take(50)
    room.take(50)

    room.release()
    room.release()

    assert not budget.room().take_up_to(51)


class Rooms:
    """Says how much was asked for, and refuses what is more than `most`."""

    def __init__(self, most=1_000_000_000):
        self.asked = []
        self._most = most

    def take_up_to(self, size):
        self.asked.append(size)
        return size <= self._most


@pytest.fixture
def outbound(origin):
    guard = AddressGuard(parse_allowed_addresses(origin.address))
    outbound = Outbound(
        guard=guard, user_agent="test", fetch_timeout_seconds=5, max_image_bytes=3_000_000
    )
    yield outbound
    outbound.close()


def test_a_fetch_takes_room_for_what_the_host_announces_and_only_for_what_it_wants(
    outbound, origin
):
    origin.serve("/a.jpg", b"x" * 300)
    origin.redirect("/moved.jpg", origin.url("/a.jpg"))
    origin.serve("/gone.jpg", b"x" * 300, status=404)
    rooms = Rooms()

    outbound.fetch(origin.url("/moved.jpg"), 5, rooms.take_up_to)
    with pytest.raises(ImageFailed):
        outbound.fetch(origin.url("/gone.jpg"), 5, rooms.take_up_to)

    assert rooms.asked == [300]


def test_a_body_of_unknown_length_takes_room_as_it_grows_up_to_the_limit(outbound, origin):
    origin.endless("/endless.jpg")
    rooms = Rooms()

    with pytest.raises(ImageFailed, match="larger than 3,000,000 bytes"):
        outbound.fetch(origin.url("/endless.jpg"), 5, rooms.take_up_to)

    assert rooms.asked[0] == 1_048_576
    assert rooms.asked == sorted(rooms.asked)
    assert rooms.asked[-1] == 3_000_000


def test_a_fetch_that_finds_no_room_ends_at_once_and_the_next_one_works(outbound, origin):
    origin.serve("/a.jpg", b"x" * 300)

    with pytest.raises(NoRoom) as refusal:
        outbound.fetch(origin.url("/a.jpg"), 5, Rooms(most=299).take_up_to)

    assert refusal.value.size == 300
    assert outbound.fetch(origin.url("/a.jpg"), 5, Rooms().take_up_to).body == b"x" * 300


def test_a_growing_body_that_finds_no_room_ends_at_once(outbound, origin):
    origin.endless("/endless.jpg")

    with pytest.raises(NoRoom) as refusal:
        outbound.fetch(origin.url("/endless.jpg"), 5, Rooms(most=1_048_576).take_up_to)

    assert refusal.value.size > 1_048_576


def test_an_idle_connection_holds_no_room(outbound, origin):
    origin.serve("/a.jpg", b"x" * 300)
    budget = Budget(300)
    room = budget.room()

    outbound.fetch(origin.url("/a.jpg"), 5, room.take_up_to)
    del room

    assert budget.room().take_up_to(300)


def test_who_waits_for_room_gives_up_when_it_is_not_wanted_any_more(monkeypatch):
    monkeypatch.setattr("app.budget.LOOK_SECONDS", 0.01)
    budget = Budget(100)
    kept, room = budget.room(), budget.room()
    kept.take(100)

    assert not room.take(1, is_worth_waiting=lambda: False)
    assert room.size == 0
