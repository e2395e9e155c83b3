"""ENGINE=celery: workers, broker and web processes killed, emptied, added and drained."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from tests import fleet
from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG, SEED
from tests.chaos.stored import Objects
from tests.chaos.world import wait_for
from tests.scaled import environment_of

KILLS, IMAGES, DELAY_MS = (50, 500, 250) if IS_LONG else (5, 250, 100)
TAKES_WORK_SECONDS = 20  # most of it is Python's start, on a machine that has other things to do
DRAINED_SECONDS = 25

pytestmark = fleet.needs_redis


@pytest.fixture
def run(run_of):
    return run_of(IMAGES, DELAY_MS)


@pytest.fixture
def broker(world):
    with fleet.redis(world.folder) as server:
        yield server


@pytest.fixture
def connections():
    """To the origin, of one worker: so few that every kill meets work."""
    return 2 if IS_LONG else 4


@pytest.fixture
def storage():
    return "folders"


@pytest.fixture
def site(world, broker, connections, storage, request):
    """A web process and a worker of two processes."""
    if storage == "bucket":
        bucket = request.getfixturevalue("bucket")
        world.settings |= environment_of(bucket)
        world.stored = Objects(bucket)
    world.settings |= {
        "ENGINE": "celery",
        "CELERY_BROKER_URL": broker.url,
        "WORKER_PROCESSES": 2,
        "PER_HOST_CONNECTIONS": connections,
    }
    world.start_worker()
    world.start().wait_until_ready()
    return world


def pool_of(worker):
    """Pids of a worker's processes that make images."""
    pid = worker.process.pid
    with suppress(OSError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def claims_of(database, pids):
    held = {"state": "claimed", "claimant.pid": {"$in": pids}}
    return list(database["segments"].find(held))


def finish_and_judge(site, request_id, run):
    site.wait_for_end(request_id, 600 if IS_LONG else 90)
    return judge(site, {request_id: run}, hook=site.name)


def kill_process_of_a_pool(site, broker, dice):
    """The worker starts another in its place."""
    pids = [pid for worker in site.workers for pid in pool_of(worker)]
    if pids:
        os.kill(dice.choice(pids), signal.SIGKILL)


def kill_worker(site, broker, dice):
    alive = [worker for worker in site.workers if worker.process.poll() is None]
    dice.choice(alive).kill()
    site.start_worker()


def kill_broker(site, broker, dice):
    """With all that waited in it."""
    broker.kill()
    broker.start()


def kill_web_process(site, broker, dice):
    """And with it the private MongoDB server, which it owns."""
    site.life.kill()
    site.start()


VICTIMS = (kill_worker, kill_process_of_a_pool, kill_broker, kill_web_process)


@pytest.mark.parametrize("storage", ["folders", "bucket"])
def test_workers_broker_and_web_processes_killed_in_turn_do_every_image_once(
    site, broker, run, keep, storage
):
    dice = random.Random(SEED)
    site.start_worker()
    request_id = site.upload(run.catalogue.file, site.name)

    seen = []
    for number in range(KILLS):
        time.sleep(dice.uniform(0.1, 1.0 if IS_LONG else 0.6))
        seen.append(site.done(request_id))
        VICTIMS[number % len(VICTIMS)](site, broker, dice)

    site.note(f"seed {SEED}, images done at the kills {seen}")
    counts = finish_and_judge(site, request_id, run)
    keep(
        "13 Celery: kill -9 of workers, broker and web"
        + (", all files in a bucket" if storage == "bucket" else ""),
        runs=1,
        kills=KILLS,
        kills_before_the_end=sum(done < run.catalogue.images for done in seen),
        seed=SEED,
        **counts,
    )


def test_a_broker_that_is_emptied_in_the_middle_loses_nothing(site, broker, run, keep):
    request_id = site.upload(run.catalogue.file, site.name)
    times = 20 if IS_LONG else 3
    with redis.Redis(port=broker.port) as client:
        for share in range(times):
            wait_for(lambda share=share: site.done(request_id) >= share * IMAGES // times, "work")
            client.flushall()

    counts = finish_and_judge(site, request_id, run)
    keep("13 Celery: Redis emptied in the middle", runs=times, kills=0, **counts)


@pytest.mark.parametrize("connections", [2])
def test_a_worker_added_in_the_middle_takes_work_and_one_told_to_stop_puts_it_back(site, run, keep):
    first = site.workers[0]
    request_id = site.upload(run.catalogue.file, site.name)
    client, database = site.database()
    with client:
        wait_for(lambda: claims_of(database, pool_of(first)), "the first to work")
        added_at = time.monotonic()
        second = site.start_worker()
        wait_for(lambda: claims_of(database, pool_of(second)), "the second to work")
        took_seconds = time.monotonic() - added_at

        pids = pool_of(first)
        code, drained_seconds = first.stop()
        left = claims_of(database, pids)

    assert took_seconds < TAKES_WORK_SECONDS
    assert (code, left) == (0, [])
    assert drained_seconds < DRAINED_SECONDS
    counts = finish_and_judge(site, request_id, run)
    keep(
        "13 Celery: one worker added, one drained",
        runs=1,
        kills=0,
        took_work_after_seconds=round(took_seconds, 1),
        drained_in_seconds=round(drained_seconds, 1),
        **counts,
    )
