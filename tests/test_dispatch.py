"""The dispatcher: every call runs, in turn between groups, within the lanes' limits."""

import threading
import time
from collections import Counter

import pytest

from app.dispatch import Dispatcher

PATIENCE_SECONDS = 10


@pytest.fixture
def make_dispatcher():
    made = []

    def make(**limits):
        made.append(Dispatcher("test", **limits))
        return made[-1]

    yield make
    for dispatcher in made:
        dispatcher.stop()


def test_every_call_runs_once(make_dispatcher):
    dispatcher = make_dispatcher(threads=4, per_lane=2)
    ran = Counter()
    done = threading.Semaphore(0)

    def work(number):
        ran[number] += 1
        done.release()

    for number in range(300):
        dispatcher.submit("a", f"host{number % 7}", lambda number=number: work(number))

    for _ in range(300):
        assert done.acquire(timeout=PATIENCE_SECONDS)
    assert ran == Counter(range(300))


def test_a_lane_never_holds_more_than_its_limit_while_others_go_on(make_dispatcher):
    dispatcher = make_dispatcher(threads=8, per_lane=2)
    release, slow_running, fast_done = threading.Event(), threading.Semaphore(0), threading.Event()

    def slow():
        slow_running.release()
        release.wait(PATIENCE_SECONDS)

    for _ in range(6):
        dispatcher.submit("a", "slow", slow)
    dispatcher.submit("a", "fast", fast_done.set)

    assert fast_done.wait(PATIENCE_SECONDS)
    assert slow_running.acquire(timeout=PATIENCE_SECONDS)
    assert slow_running.acquire(timeout=PATIENCE_SECONDS)
    assert not slow_running.acquire(blocking=False)
    release.set()
    for _ in range(4):
        assert slow_running.acquire(timeout=PATIENCE_SECONDS)


def test_a_small_group_does_not_wait_behind_a_large_one(make_dispatcher):
    dispatcher = make_dispatcher(threads=1, per_lane=1)
    order, gate, finished = [], threading.Event(), threading.Event()
    dispatcher.submit("large", "h", lambda: gate.wait(PATIENCE_SECONDS) and None)
    for _ in range(50):
        dispatcher.submit("large", "h", lambda: order.append("large"))
    dispatcher.submit("small", "h", lambda: order.append("small"))
    dispatcher.submit("last", "h", finished.set)

    gate.set()

    assert finished.wait(PATIENCE_SECONDS)
    assert "small" in order[:2]


def test_one_group_leaves_threads_for_whoever_comes_next(make_dispatcher):
    dispatcher = make_dispatcher(threads=8, per_lane=8)
    release, running, small_done = threading.Event(), threading.Semaphore(0), threading.Event()

    def slow():
        running.release()
        release.wait(PATIENCE_SECONDS)

    for number in range(20):
        dispatcher.submit("large", f"slow{number % 3}", slow)
    for _ in range(7):
        assert running.acquire(timeout=PATIENCE_SECONDS)
    dispatcher.submit("small", "fast", small_done.set)

    assert small_done.wait(PATIENCE_SECONDS)
    assert not running.acquire(blocking=False)
    release.set()


def test_work_that_has_waited_goes_before_what_is_new(make_dispatcher):
    dispatcher = make_dispatcher(threads=1, per_lane=1)
    order, again_waits, gate = [], threading.Event(), threading.Event()
    finished = threading.Event()
    dispatcher.submit("a", "h", lambda: gate.wait(PATIENCE_SECONDS))
    for _ in range(5):
        dispatcher.submit("a", "h", lambda: order.append("new"))
    dispatcher.submit("a", "h", finished.set)
    dispatcher.submit("a", "h", lambda: order.append("again"), after_seconds=0.001)
    dispatcher._later.call(0.002, again_waits.set)
    assert again_waits.wait(PATIENCE_SECONDS)
    gate.set()

    assert finished.wait(PATIENCE_SECONDS)
    assert order[0] == "again"


def test_work_waits_for_its_time(make_dispatcher):
    dispatcher = make_dispatcher(threads=1, per_lane=1)
    began, done = time.monotonic(), threading.Event()

    dispatcher.submit("a", "h", done.set, after_seconds=0.05)

    assert done.wait(PATIENCE_SECONDS)
    assert time.monotonic() - began >= 0.05


def test_work_that_fails_does_not_lose_its_thread(make_dispatcher):
    dispatcher = make_dispatcher(threads=1, per_lane=1)
    done = threading.Event()

    dispatcher.submit("a", "h", lambda: 1 / 0)
    dispatcher.submit("a", "h", done.set)

    assert done.wait(PATIENCE_SECONDS)


def test_a_lanes_limit_can_be_raised_while_calls_wait(make_dispatcher):
    dispatcher = make_dispatcher(threads=8, per_lane=1)
    release, running = threading.Event(), threading.Semaphore(0)

    def hold():
        running.release()
        release.wait(PATIENCE_SECONDS)

    for _ in range(3):
        dispatcher.submit("a", "h", hold)
    assert running.acquire(timeout=PATIENCE_SECONDS)
    assert not running.acquire(blocking=False)
    dispatcher.set_limit("h", 2)

    assert running.acquire(timeout=PATIENCE_SECONDS)
    assert not running.acquire(blocking=False)
    release.set()


def test_a_lane_pauses_while_the_others_go_on_and_goes_on_by_itself(make_dispatcher):
    dispatcher = make_dispatcher(threads=2, per_lane=2)
    order, done = [], threading.Event()
    dispatcher.pause("h", 0.05)

    dispatcher.submit("a", "h", lambda: (order.append("paused"), done.set()))
    dispatcher.submit("a", "other", lambda: order.append("other"))

    assert done.wait(PATIENCE_SECONDS)
    assert order == ["other", "paused"]


def test_calls_that_take_beyond_all_patience_do_not_hold_up_their_lane(make_dispatcher):
    dispatcher = make_dispatcher(threads=8, per_lane=2, most_per_lane=4)
    release, running, quick_done = threading.Event(), threading.Semaphore(0), threading.Event()

    def hold():
        running.release()
        release.wait(PATIENCE_SECONDS)

    dispatcher.set_patience("h", 0.01)
    for _ in range(3):
        dispatcher.submit("a", "h", hold)
    dispatcher.submit("a", "h", quick_done.set)

    assert quick_done.wait(PATIENCE_SECONDS)
    assert all(running.acquire(blocking=False) for _ in range(3))
    release.set()


def test_what_is_set_aside_counts_against_the_most_of_its_lane(make_dispatcher):
    dispatcher = make_dispatcher(threads=8, per_lane=1, most_per_lane=2)
    release, running = threading.Event(), threading.Semaphore(0)

    def hold():
        running.release()
        release.wait(PATIENCE_SECONDS)

    dispatcher.set_patience("h", 0.01)
    for _ in range(3):
        dispatcher.submit("a", "h", hold)
    for _ in range(2):
        assert running.acquire(timeout=PATIENCE_SECONDS)
    dispatcher._set_slow_aside()
    looked = threading.Event()
    dispatcher._later.call(0.02, lambda: (dispatcher._set_slow_aside(), looked.set()))

    assert looked.wait(PATIENCE_SECONDS)
    assert not running.acquire(blocking=False)
    release.set()
    assert running.acquire(timeout=PATIENCE_SECONDS)


def test_what_fails_at_its_time_does_not_end_the_timer(make_dispatcher):
    dispatcher = make_dispatcher(threads=1, per_lane=1)
    done = threading.Event()

    dispatcher._later.call(0.001, lambda: 1 / 0)
    dispatcher.submit("a", "h", done.set, after_seconds=0.01)

    assert done.wait(PATIENCE_SECONDS)


def test_calls_wait_while_no_thread_can_be_had(make_dispatcher, monkeypatch):
    dispatcher = make_dispatcher(threads=4, per_lane=4)
    release, first, all_done = threading.Event(), threading.Event(), threading.Semaphore(0)
    dispatcher.submit("a", "h", lambda: (first.set(), release.wait(PATIENCE_SECONDS)))
    assert first.wait(PATIENCE_SECONDS)

    def no_thread(_self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", no_thread)
        for _ in range(3):
            dispatcher.submit("a", "h", all_done.release)
    release.set()

    for _ in range(3):
        assert all_done.acquire(timeout=PATIENCE_SECONDS)
