"""A death at every step of the write order: the next start goes on as if nothing had been."""

import pytest
import requests

from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG
from tests.chaos.wrapped import AFTER_THE_COMMIT, BEFORE_THE_COMMIT, EXIT_CODE

WEBHOOK_HOLD_SECONDS = 0.3
"""A try that died is made again after so long, instead of a minute."""
A_FEW_STEPS = [
    "upload stored",
    "committed",
    "urls claimed",
    "file synced",
    "file named",
    "results recorded by URL",
    "counts set",
    "output CSV put",
    "request ended",
    "webhook sent",
]
STEPS = BEFORE_THE_COMMIT + AFTER_THE_COMMIT if IS_LONG else A_FEW_STEPS
OFTEN = ["image fetched", "image coded", "temporary file written", "file synced", "file named"]
LATE = 15
"""Steps that come for every image are tried late too, when others have come before them."""
ALL_TRIALS = [(step, 1) for step in STEPS] + [(step, LATE) for step in OFTEN]
TRIALS = ALL_TRIALS if IS_LONG else [("file named", LATE)]


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
        accepted = {"status": {"$in": ["processing", "completed"]}}
        [request] = database["processing_requests"].find(accepted)
        return request["request_id"]


def test_one_request_survives_a_death_at_every_step_in_turn(world, run_of, keep):
    run = run_of(350 if IS_LONG else 130)

    for step in STEPS:
        if step in BEFORE_THE_COMMIT or step == "committed":
            assert upload_to_one_who_dies(world, run, step) is None
        else:
            world.start(plan_of(step))
        assert world.life.wait_for_death() == EXIT_CODE, step
    world.start(plan_of(None)).wait_until_ready()
    request_id = the_only_request(world)
    world.wait_for_end(request_id)

    counts = judge(world, {request_id: run}, hook=world.name)
    keep("2 exit at every step in turn", runs=1, kills=len(STEPS), **counts)


@pytest.mark.parametrize(("step", "times_round"), TRIALS)
def test_a_death_at_one_step_leaves_nothing_undone(world, run_of, keep, step, times_round):
    run = run_of(20)

    request_id = upload_to_one_who_dies(world, run, step, times_round)
    assert world.life.wait_for_death() == EXIT_CODE
    world.start(plan_of(None)).wait_until_ready()
    if step in BEFORE_THE_COMMIT:
        request_id = world.upload(run.catalogue.file, world.name)
    request_id = request_id or the_only_request(world)
    world.wait_for_end(request_id)

    counts = judge(world, {request_id: run}, hook=world.name)
    keep(f"2 exit at: {step} ({times_round})", runs=1, kills=1, **counts)


def test_a_commit_whose_acknowledgement_is_lost_is_kept_and_answered_202(world, run_of):
    run = run_of(20)
    world.start({"commit_unheard": True}).wait_until_ready()

    request_id = world.upload(run.catalogue.file, world.name)
    world.wait_for_end(request_id)

    judge(world, {request_id: run}, hook=world.name)
