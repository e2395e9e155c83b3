"""A death at every step of a cancel, a retry and a removal: once it was said, it is carried out."""

import pytest

from tests.chaos.judge import judge
from tests.chaos.world import wait_for
from tests.chaos.wrapped import EXIT_CODE, OF_A_CANCEL, OF_A_REMOVAL, OF_A_RETRY

IMAGES, DELAY_MS = 130, 100


@pytest.fixture
def run(run_of):
    return run_of(IMAGES, DELAY_MS)


@pytest.fixture
def half_done(world, run):
    """The id of a request of two segments, of which some images are done and most are not."""
    world.settings["PER_HOST_CONNECTIONS"] = 4
    world.start().wait_until_ready()
    request_id = world.upload(run.catalogue.file)
    wait_for(lambda: world.done(request_id) > 5, "some images")
    return request_id


def restart(world, step=None):
    """A life that ends at a step, in the place of the one before."""
    world.life.kill()
    world.start({"die_at": step})
    return world.life


def die_in_turn(world, steps, method, path):
    """The first step comes with the call, the others by themselves after each start."""
    restart(world, steps[0]).wait_until_ready()
    assert world.ask(method, path) in (None, 202, 204)
    assert world.life.wait_for_death() == EXIT_CODE, steps[0]
    for step in steps[1:]:
        assert restart(world, step).wait_for_death() == EXIT_CODE, step
    restart(world).wait_until_ready()


def test_a_cancel_is_carried_out_whenever_it_dies(world, run, half_done, keep):
    die_in_turn(world, OF_A_CANCEL, "POST", f"/cancel/{half_done}")
    world.wait_for_end(half_done)

    status = world.status(half_done)
    assert status["status"] == "cancelled"
    assert status["progress"]["remaining"] == 0
    assert status["progress"]["cancelled"] > 0
    assert world.ask("POST", f"/retry/{half_done}") == 202
    world.wait_for_end(half_done)
    counts = judge(world, {half_done: run})
    keep("12 cancelled, exit at every step in turn", runs=1, kills=len(OF_A_CANCEL), **counts)


def test_a_retry_is_carried_out_whenever_it_dies(world, run, half_done, keep):
    assert world.ask("POST", f"/cancel/{half_done}") == 202
    world.wait_for_end(half_done)

    die_in_turn(world, OF_A_RETRY, "POST", f"/retry/{half_done}")
    world.wait_for_end(half_done)

    counts = judge(world, {half_done: run})
    keep("12 retried, exit at every step in turn", runs=1, kills=len(OF_A_RETRY), **counts)


def test_a_removal_is_carried_out_whenever_it_dies(world, run, half_done, keep):
    assert world.ask("POST", f"/cancel/{half_done}") == 202
    world.wait_for_end(half_done)

    die_in_turn(world, OF_A_REMOVAL, "DELETE", f"/requests/{half_done}")

    assert world.ask("GET", f"/status/{half_done}") == 404
    counts = judge(world, {})
    keep("12 deleted, exit at every step in turn", runs=1, kills=len(OF_A_REMOVAL), **counts)
