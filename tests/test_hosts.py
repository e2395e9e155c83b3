"""How hard each host is worked: more while it is fast, less when it says so."""

import time

import pytest

from app.errors import ImageFailed
from app.hosts import FAILURES_IN_A_ROW, Hosts, host_of
from app.models import ErrorCode

HOST = "shop.example:443"


class Dispatcher:
    """Notes what it is told."""

    def __init__(self):
        self.limits, self.patience, self.pauses = {}, {}, []

    def set_limit(self, lane, limit):
        self.limits[lane] = limit

    def set_patience(self, lane, seconds):
        self.patience[lane] = seconds

    def pause(self, lane, seconds):
        self.pauses.append((lane, seconds))


@pytest.fixture
def dispatcher():
    return Dispatcher()


@pytest.fixture
def hosts(dispatcher):
    return Hosts(dispatcher, most_connections=32)


def answer(hosts, times, seconds):
    for _ in range(times):
        hosts.answered(HOST, time.monotonic(), seconds)


def fault(code, retry_after_seconds=None):
    return ImageFailed(code, "why", permanent=False, retry_after_seconds=retry_after_seconds)


def fail(hosts, times, code, retry_after_seconds=None):
    for _ in range(times):
        hosts.failed(HOST, time.monotonic(), fault(code, retry_after_seconds))


def test_a_host_whose_answers_stay_as_fast_gets_connections_up_to_the_ceiling(hosts, dispatcher):
    answer(hosts, 8, 0.1)
    assert dispatcher.limits[HOST] == 16

    answer(hosts, 300, 0.1)
    assert dispatcher.limits[HOST] == 32


def test_a_host_that_is_fast_enough_gets_no_more_than_it_needs(hosts, dispatcher):
    answer(hosts, 300, 0.004)

    assert HOST not in dispatcher.limits


def test_a_host_that_becomes_slower_gets_no_more(hosts, dispatcher):
    answer(hosts, 8, 0.1)
    answer(hosts, 100, 0.2)

    assert dispatcher.limits[HOST] == 16


def test_a_host_that_becomes_much_slower_gets_fewer_but_not_fewer_than_it_began_with(
    hosts, dispatcher
):
    answer(hosts, 300, 0.1)
    answer(hosts, 64, 1)
    assert dispatcher.limits[HOST] <= 24

    answer(hosts, 200, 1)
    assert dispatcher.limits[HOST] == 8


def test_answers_without_an_image_say_nothing_of_how_fast_images_come(hosts, dispatcher):
    for _ in range(300):
        hosts.answered(HOST, time.monotonic(), 0.01, is_unchanged=True)
    assert dispatcher.limits[HOST] == 32

    answer(hosts, 300, 0.4)
    assert dispatcher.limits[HOST] == 32


@pytest.mark.parametrize(("seconds", "patience"), [(0.01, 1), (3, 30)])
def test_a_fetch_may_take_ten_times_what_its_host_usually_takes(
    hosts, dispatcher, seconds, patience
):
    answer(hosts, 8, seconds)

    assert dispatcher.patience == {HOST: pytest.approx(patience)}


@pytest.mark.parametrize("code", ["http_429", "http_503", ErrorCode.TIMEOUT])
def test_a_host_that_is_overrun_gets_half_once_for_all_that_was_under_way(hosts, dispatcher, code):
    began_at = time.monotonic()
    for _ in range(8):
        hosts.failed(HOST, began_at, fault(code))
    assert dispatcher.limits[HOST] == 4

    fail(hosts, 1, code)
    assert dispatcher.limits[HOST] == 2


def test_a_host_that_is_overrun_is_given_nothing_in_place_of_what_hangs(hosts, dispatcher):
    answer(hosts, 8, 0.1)
    fail(hosts, 1, "http_503")
    assert dispatcher.patience == {HOST: None}

    answer(hosts, 40, 0.1)
    assert dispatcher.patience == {HOST: pytest.approx(1)}


def test_a_url_that_times_out_while_others_are_answered_says_little_of_its_host(hosts, dispatcher):
    began_at = time.monotonic()
    answer(hosts, 40, 0.004)
    hosts.failed(HOST, began_at, fault(ErrorCode.TIMEOUT))

    assert dispatcher.limits == {HOST: 4}
    assert dispatcher.patience == {HOST: pytest.approx(1)}


def test_after_that_it_grows_by_one_at_a_time(hosts, dispatcher):
    answer(hosts, 300, 0.1)
    fail(hosts, 1, "http_503")
    assert dispatcher.limits[HOST] == 16

    answer(hosts, 16, 0.1)
    assert dispatcher.limits[HOST] == 17


def test_what_a_host_asks_to_wait_is_waited_for_by_all_its_images(hosts, dispatcher):
    fail(hosts, 1, "http_429", retry_after_seconds=7)

    assert dispatcher.pauses == [(HOST, 7)]
    hosts.check(HOST)


def test_what_is_too_long_to_wait_for_fails_at_once_with_the_hosts_own_words(hosts, dispatcher):
    fail(hosts, 1, "http_429", retry_after_seconds=3600)

    with pytest.raises(ImageFailed, match="why; the host is left alone for 3600 s") as refusal:
        hosts.check(HOST)
    assert refusal.value.code == "http_429"
    assert not refusal.value.permanent
    assert dispatcher.pauses == []


@pytest.mark.parametrize("code", [ErrorCode.CONNECT, ErrorCode.DNS, ErrorCode.TIMEOUT, "http_500"])
def test_a_host_that_only_fails_is_left_alone_and_then_tried_one_at_a_time(
    hosts, dispatcher, code, monkeypatch
):
    fail(hosts, FAILURES_IN_A_ROW - 1, code)
    hosts.check(HOST)
    fail(hosts, 1, code)
    with pytest.raises(ImageFailed):
        hosts.check(HOST)
    hosts.check("other.example:443")
    assert dispatcher.limits[HOST] == 1

    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    hosts.check(HOST)
    fail(hosts, 1, code)
    with pytest.raises(ImageFailed):
        hosts.check(HOST)


def test_an_answer_between_failures_proves_that_the_host_is_there(hosts):
    fail(hosts, FAILURES_IN_A_ROW - 1, ErrorCode.CONNECT)
    fail(hosts, 1, "http_404")
    fail(hosts, 1, ErrorCode.CONNECT)

    hosts.check(HOST)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Shop.example/a.jpg", "shop.example:443"),
        ("http://shop.example:80/a.jpg", "shop.example:80"),
        ("http://shop.example:99999/a.jpg", "shop.example:99999"),
        ("/a.jpg", "None:80"),
    ],
)
def test_a_host_is_the_same_however_it_is_written(url, host):
    assert host_of(url) == host


def test_large_images_do_not_make_a_fast_host_look_slow(hosts, dispatcher):
    for size_bytes in (50_000, 5_000_000) * 60:
        hosts.answered(HOST, time.monotonic(), 0.05 + size_bytes / 5_000_000, size_bytes)

    assert dispatcher.limits[HOST] == 32
