"""A death at every step of a cancel, a retry and a removal: once it was said, it is carried out."""

import pytest

from tests.chaos.judge import judge
from tests.chaos.world import wait_for
from tests.chaos.wrapped import EXIT_CODE, OF_A_CANCEL, OF_A_REMOVAL, OF_A_RETRY

IMAGES, DELAY_MS = 110, 50
"""Two segments, a second and a half."""


@pytest.fixture
def run(run_of):
    return run_of(IMAGES, DELAY_MS)


@pytest.fixture
def half_done(world, run):
    """A function that begins a life which ends at a step, and a request; its id, images missing."""

    def begin(step):
        world.settings["PER_HOST_CONNECTIONS"] = 4
        world.start({"die_at": step}).wait_until_ready()
        request_id = world.upload(run.catalogue.file)
        wait_for(lambda: world.done(request_id) > 5, "some images")
        return request_id

    return begin


@pytest.fixture
def cancelled(world, half_done):
    """A function that does so and cancels the request."""

    def begin(step):
        request_id = half_done(step)
        assert world.ask("POST", f"/cancel/{request_id}") == 202
        world.wait_for_end(request_id)
        return request_id

    return begin


def die_in_turn(world, steps, method, path):
    """At the first step after the call, at the others by itself after each start."""
    assert world.ask(method, path) in (None, 202, 204)
    assert world.life.wait_for_death() == EXIT_CODE, steps[0]
    for step in steps[1:]:
        assert world.start({"die_at": step}).wait_for_death() == EXIT_CODE, step
    world.start().wait_until_ready()


def test_a_cancel_is_carried_out_whenever_it_dies(world, run, half_done, keep):
    request_id = half_done(OF_A_CANCEL[0])

    die_in_turn(world, OF_A_CANCEL, "POST", f"/cancel/{request_id}")
    world.wait_for_end(request_id)

    status = world.status(request_id)
    assert status["status"] == "cancelled"
    assert status["progress"]["remaining"] == 0
    assert status["progress"]["cancelled"] > 0
    assert world.ask("POST", f"/retry/{request_id}") == 202
    world.wait_for_end(request_id)
    counts = judge(world, {request_id: run})
    keep("12 cancelled, exit at every step in turn", runs=1, kills=len(OF_A_CANCEL), **counts)


def test_a_retry_is_carried_out_whenever_it_dies(world, run, cancelled, keep):
    request_id = cancelled(OF_A_RETRY[0])

    die_in_turn(world, OF_A_RETRY, "POST", f"/retry/{request_id}")
    world.wait_for_end(request_id)

    counts = judge(world, {request_id: run})
    keep("12 retried, exit at every step in turn", runs=1, kills=len(OF_A_RETRY), **counts)


def test_a_removal_is_carried_out_whenever_it_dies(world, cancelled, keep):
    request_id = cancelled(OF_A_REMOVAL[0])

    die_in_turn(world, OF_A_REMOVAL, "DELETE", f"/requests/{request_id}")

    assert world.ask("GET", f"/status/{request_id}") == 404
    counts = judge(world, {})
    keep("12 deleted, exit at every step in turn", runs=1, kills=len(OF_A_REMOVAL), **counts)
