"""A death at every step of the write order: the next start goes on as if nothing had been."""

import pytest
import requests

from tests.chaos.judge import judge
from tests.chaos.wrapped import AFTER_THE_COMMIT, BEFORE_THE_COMMIT, EXIT_CODE

WEBHOOK_HOLD_SECONDS = 0.3
"""A try that died is made again after so long, instead of a minute."""
TIMES_ROUND = {"image fetched": 70, "folder synced": 130, "counts set": 2, "segment done": 2}
"""Steps that come often are tried late too, where others have come before them."""


def plan_of(step, times_round=1):
    return {"die_at": step, "die_on": times_round, "webhook_hold": WEBHOOK_HOLD_SECONDS}


def upload_to_one_who_dies(world, run, step, times_round=1):
    """The id, or None when the service died before it could say 202."""
    world.start(plan_of(step, times_round)).wait_until_ready()
    try:
        return world.upload(run.catalogue.file, world.name)
    except requests.ConnectionError:
        return None


def the_only_request(world):
    client, database = world.database()
    with client:
        [request] = database["processing_requests"].find({"status": "processing"})
        return request["request_id"]


def test_one_request_survives_a_death_at_every_step_in_turn(world, run_of):
    run = run_of(350)

    for step in BEFORE_THE_COMMIT:
        assert upload_to_one_who_dies(world, run, step) is None
        assert world.life.wait_for_death() == EXIT_CODE, step
    assert upload_to_one_who_dies(world, run, "committed") is None
    for step in AFTER_THE_COMMIT[1:]:
        life = world.start(plan_of(step))
        assert life.wait_for_death() == EXIT_CODE, step
    world.start(plan_of(None)).wait_until_ready()

    client, database = world.database()
    with client:
        [request] = database["processing_requests"].find({"status": "completed"})
    judge(world, {request["request_id"]: run}, hook=world.name)


@pytest.mark.parametrize("step", ["segments inserted", "committed", "file renamed", "webhook sent"])
def test_a_death_at_one_step_leaves_nothing_undone(world, run_of, step):
    run = run_of(20)

    request_id = upload_to_one_who_dies(world, run, step)
    assert world.life.wait_for_death() == EXIT_CODE
    world.start(plan_of(None)).wait_until_ready()
    if step in BEFORE_THE_COMMIT:
        request_id = world.upload(run.catalogue.file, world.name)
    request_id = request_id or the_only_request(world)
    world.wait_for_end(request_id)

    judge(world, {request_id: run}, hook=world.name)


def test_a_commit_whose_acknowledgement_is_lost_is_kept_and_answered_202(world, run_of):
    run = run_of(20)
    world.start({"commit_unheard": True}).wait_until_ready()

    request_id = world.upload(run.catalogue.file, world.name)
    world.wait_for_end(request_id)

    judge(world, {request_id: run}, hook=world.name)
