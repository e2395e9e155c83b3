"""Two services on one database and the same folders: each image once, and late writers refused."""

import os
import signal

import pytest

from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG
from tests.chaos.world import free_port, wait_for

LEASE_SECONDS = 1.5
IMAGES = 500 if IS_LONG else 320
DELAY_MS = 100 if IS_LONG else 60


@pytest.fixture
def plan():
    """Short leases, unless all of it is to run as it is."""
    return {} if IS_LONG else {"lease_seconds": LEASE_SECONDS}


@pytest.fixture
def run(run_of):
    return run_of(IMAGES, DELAY_MS)


@pytest.fixture
def services(world, plan):
    """The first owns the private server, the second joins it; both are slow enough to share."""
    world.settings["PER_HOST_CONNECTIONS"] = 4
    first = world.start(plan).wait_until_ready()
    second = world.start(plan, PORT=free_port()).wait_until_ready()
    return first, second


def claims_of(database, life):
    """The segments that a service works on now."""
    held = {"state": "claimed", "claimant.pid": life.process.pid}
    return list(database["segments"].find(held))


def identities(world, request_id):
    """The files of a request's images: by name, which file on the disk it is."""
    folder = world.folder / "processed" / request_id
    return {path.name: path.stat().st_ino for path in folder.iterdir() if path.name[0] != "."}


def test_both_work_and_no_image_is_made_twice(world, services, run, keep):
    first, second = services
    before = world.origin.counts()
    request_id = world.upload(run.catalogue.file, world.name)
    client, database = world.database()
    with client:
        wait_for(lambda: claims_of(database, first) and claims_of(database, second), "both to work")
    world.wait_for_end(request_id)

    fetched = {
        path: times - before.get(path, 0)
        for path, times in world.origin.counts().items()
        if times > before.get(path, 0)
    }
    twice = [path for path, times in fetched.items() if times > 1]
    assert not twice, f"fetched more than once: {twice}"
    counts = judge(world, {request_id: run}, hook=world.name)
    keep("5 two services, both at work", runs=1, kills=0, fetched_twice=len(twice), **counts)


@pytest.mark.parametrize("which", ["the owner of the database"] + ["the one that joined"] * IS_LONG)
def test_one_that_slept_past_its_lease_writes_nothing_when_it_wakes(
    world, services, run, keep, which
):
    sleeper = services[0] if which == "the owner of the database" else services[1]
    awake = services[1] if sleeper is services[0] else services[0]
    world.lives.sort(key=lambda life: life is awake)  # the last is asked
    request_id = world.upload(run.catalogue.file, world.name)
    client, database = world.database()
    with client:
        wait_for(lambda: claims_of(database, sleeper), "the sleeper to work")
    wait_for(lambda: world.done(request_id) > 10, "some images")

    os.kill(sleeper.process.pid, signal.SIGSTOP)
    try:
        world.wait_for_end(request_id)
        made = identities(world, request_id)
    finally:
        os.kill(sleeper.process.pid, signal.SIGCONT)
    wait_for(lambda: "segment lost" in sleeper.log(), "the sleeper to hear of its loss")
    wait_for(sleeper.is_ready, "the sleeper to answer")

    now = identities(world, request_id)
    overwritten = [name for name in made if made[name] != now.get(name)]
    assert not overwritten, f"overwritten: {overwritten}"
    counts = judge(world, {request_id: run}, hook=world.name)
    keep(
        f"5 SIGSTOP past the lease, {which}",
        runs=1,
        kills=0,
        overwritten=len(overwritten),
        **counts,
    )


def test_when_the_owner_of_the_database_is_killed_the_other_takes_it_over(
    world, services, run, keep
):
    owner, _ = services
    request_id = world.upload(run.catalogue.file, world.name)
    wait_for(lambda: world.done(request_id) > 10, "some images")

    owner.kill()
    world.wait_for_end(request_id)

    counts = judge(world, {request_id: run}, hook=world.name)
    keep("5 kill -9 of the owner of the database", runs=1, kills=1, **counts)
