"""kill -9 and SIGTERM of the whole service at any moment: what was accepted is finished, once."""

import random
import time

import pytest
import requests

from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG, SEED
from tests.chaos.world import wait_for

STOP_SECONDS = 25
GRACE_SECONDS = 0.01
AT_ONCE_SECONDS = 3


@pytest.mark.parametrize("from_when", ["from its start", "from when it was ready"])
def test_killed_at_random_moments_it_does_every_image_once(world, run_of, keep, from_when):
    kills, images, delay_ms, longest = (50, 500, 250, 2.0) if IS_LONG else (3, 40, 100, 1.0)
    run = run_of(images, delay_ms)
    lives = random.Random(f"{SEED} {from_when}")
    world.settings["PER_HOST_CONNECTIONS"] = 4  # so slow that every kill meets work
    world.start().wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)

    seen = []
    for _ in range(kills):
        seconds = lives.uniform(0.05, longest)
        if from_when == "from its start":
            world.life.kill_at_age(seconds)
        else:
            world.life.wait_until_ready()
            seen.append(world.done(request_id))
            world.life.kill_after(seconds)
        world.start()
    world.life.wait_until_ready()
    seen.append(world.done(request_id))
    world.wait_for_end(request_id)

    world.note(f"seed {SEED}, images done at the starts {seen}")
    counts = judge(world, {request_id: run}, hook=world.name)
    keep(f"1 kill -9 at random moments {from_when}", runs=1, kills=kills, seed=SEED, **counts)


def test_lives_too_short_for_a_segment_still_get_everything_done(world, run_of, keep):
    images, most_lives = (500, 200) if IS_LONG else (80, 30)
    run = run_of(images)
    world.settings["COMPRESS_WORKERS"] = 1
    world.start().wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)

    kills = 0
    while not world.has_ended(request_id):
        world.life.kill_after(0.25)
        kills += 1
        assert kills < most_lives, f"{world.done(request_id)} images after {kills} lives"
        world.start().wait_until_ready()

    counts = judge(world, {request_id: run}, hook=world.name)
    keep("1 lives of a quarter second after each start", runs=1, kills=kills, **counts)


def test_killed_as_soon_as_it_has_said_202_it_completes_the_request(world, run_of, keep):
    rounds = 100 if IS_LONG else 5
    run = run_of(6)

    request_ids, in_time = [], []
    while len(in_time) < rounds:
        world.start().wait_until_ready()
        sent_at = time.monotonic()
        reply = world.post_upload(run.catalogue.file, world.name)
        world.life.process.kill()
        late_seconds = time.monotonic() - sent_at - reply.elapsed.total_seconds()
        world.life.process.wait()
        request_ids.append(reply.json()["request_id"])
        in_time += [late_seconds] if late_seconds < GRACE_SECONDS else []
        assert len(request_ids) < 2 * rounds, "this machine is too slow to kill in time"
    world.start().wait_until_ready()
    for request_id in request_ids:
        world.wait_for_end(request_id)

    counts = judge(world, dict.fromkeys(request_ids, run), hook=world.name)
    keep(
        "3 kill -9 within 10 ms of the 202",
        runs=len(request_ids),
        kills=len(request_ids),
        within_10_ms=len(in_time),
        completed=len(request_ids),
        **counts,
    )


def test_told_to_stop_it_exits_0_in_time_and_the_next_start_goes_on_at_once(world, run_of, keep):
    stops, images, delay_ms = (20, 500, 150) if IS_LONG else (2, 60, 100)
    run = run_of(images, delay_ms)
    moments = random.Random(SEED)
    world.settings["PER_HOST_CONNECTIONS"] = 4
    world.start().wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)

    stop_seconds, idle_seconds = [], []
    for _ in range(stops):
        time.sleep(moments.uniform(0.05, 1.0))
        code, seconds = world.life.stop()
        assert (code, seconds < STOP_SECONDS) == (0, True), f"exit {code} after {seconds:.1f} s"
        stop_seconds.append(seconds)
        asked = world.origin.total()
        world.start().wait_until_ready()
        ready_at = time.monotonic()
        wait_for(
            lambda asked=asked: world.origin.total() > asked or world.has_ended(request_id),
            "work to go on",
        )
        idle_seconds.append(time.monotonic() - ready_at)
    world.wait_for_end(request_id)

    assert max(idle_seconds) < AT_ONCE_SECONDS
    counts = judge(world, {request_id: run}, hook=world.name)
    keep(
        "7 SIGTERM in the middle",
        runs=stops,
        kills=0,
        seed=SEED,
        longest_stop_seconds=round(max(stop_seconds), 2),
        longest_pause_seconds=round(max(idle_seconds), 2),
        **counts,
    )


def test_a_stop_while_it_starts_is_a_clean_one_too(world):
    life = world.start()
    wait_for(lambda: "listening" in life.log(), "the service to listen")

    code, _ = life.stop()

    assert code == 0
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{life.url}/healthz", timeout=5)
