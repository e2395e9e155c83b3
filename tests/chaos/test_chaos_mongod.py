"""kill -9 of the private MongoDB server: nothing acknowledged is lost, and nobody sees a 500."""

import json
import os
import random
import signal
import threading
import time
import uuid
from datetime import UTC, datetime

import pytest
import requests
from standardwebhooks.webhooks import Webhook

from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG, SEED
from tests.chaos.world import SECRET, wait_for

LEASE_SECONDS = 2
PAUSE_SECONDS = 0.05


class Callers:
    """A client that looks, one that uploads and one that posts webhooks, until the block ends.

    `request_ids` and `event_ids` were acknowledged; `faults` are answers that may not be.
    """

    def __init__(self, world, request_id, catalogue):
        self._world = world
        self._request_id = request_id
        self._catalogue = catalogue
        self._over = threading.Event()
        calls = (self._look, self._upload, self._send_event)
        self._threads = [threading.Thread(target=self._repeat, args=(call,)) for call in calls]
        self.request_ids, self.event_ids, self.faults = [], [], []
        self.refusals = 0

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call):
        while not self._over.wait(PAUSE_SECONDS):
            try:
                self._check(call())
            except requests.RequestException as error:
                self.faults.append(str(error))

    def _check(self, reply):
        if reply.status_code == 503 and "Retry-After" in reply.headers and reply.json()["error"]:
            self.refusals += 1
        elif reply.status_code not in (200, 202):
            self.faults.append(f"{reply.request.url}: {reply.status_code} {reply.text}")

    def _look(self):
        return requests.get(f"{self._world.life.url}/status/{self._request_id}", timeout=60)

    def _upload(self):
        time.sleep(10 * PAUSE_SECONDS)
        reply = self._world.post_upload(self._catalogue.file, self._world.name)
        if reply.status_code == 202:
            self.request_ids.append(reply.json()["request_id"])
        return reply

    def _send_event(self):
        event_id = f"msg_{uuid.uuid4().hex}"
        body = json.dumps({"request_id": "elsewhere", "status": "completed"})
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(SECRET).sign(event_id, now, body),
        }
        url = f"{self._world.life.url}/webhook"
        reply = requests.post(url, data=body, headers=headers, timeout=60)
        if reply.status_code == 200:
            self.event_ids.append(event_id)
        return reply


def all_requests(world):
    """Ids of all that was accepted, also of what could not be said to have been."""
    client, database = world.database()
    with client:
        return database["processing_requests"].distinct(
            "request_id", {"status": {"$ne": "removing"}}
        )


def kept_events(world):
    client, database = world.database()
    with client:
        return set(database["webhook_events"].distinct("webhook_id"))


def test_killed_again_and_again_it_loses_nothing_that_was_acknowledged(world, run_of, keep):
    kills, images = (20, 500) if IS_LONG else (2, 60)
    run = run_of(images, 100)
    small = run_of(6)
    moments = random.Random(SEED)
    world.settings["PER_HOST_CONNECTIONS"] = 4
    world.start({"lease_seconds": LEASE_SECONDS}).wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)

    with Callers(world, request_id, small.catalogue) as callers:
        for _ in range(kills):
            time.sleep(moments.uniform(0.1, 1.0))
            killed = wait_for(world.mongod, "a database to kill")
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda killed=killed: world.mongod() not in (None, killed), "its successor")
        wait_for(world.life.is_ready, "the service to be ready again")
    world.wait_for_end(request_id)
    request_ids = all_requests(world)
    for other in request_ids:
        world.wait_for_end(other)

    assert not callers.faults, callers.faults[:5]
    assert set(callers.request_ids) <= set(request_ids)
    assert set(callers.event_ids) <= kept_events(world)
    runs = dict.fromkeys(request_ids, small) | {request_id: run}
    counts = judge(world, runs, hook=world.name)
    keep(
        "4 kill -9 of mongod",
        runs=1,
        kills=kills,
        seed=SEED,
        uploads_acknowledged=len(callers.request_ids),
        events_acknowledged=len(callers.event_ids),
        answers_503=callers.refusals,
        answers_500=0,
        **counts,
    )


MORE_STEPS = [
    "committed",
    "segment done",
    "intake marked",
    "products inserted",
    "segment claimed",
    "rows fenced",
    "urls claimed",
    "results recorded by URL",
    "counts set",
    "finish claimed",
    "request ended",
    "webhook claimed",
    "webhook sent",
]


@pytest.mark.parametrize("step", ["results recorded by row"] + MORE_STEPS * IS_LONG)
def test_killed_at_any_step_it_is_started_again_and_nothing_is_lost(world, run_of, step, keep):
    run = run_of(20)
    plan = {"kill_mongod_at": step, "lease_seconds": LEASE_SECONDS, "webhook_hold": 0.5}
    life = world.start(plan).wait_until_ready()

    reply = world.post_upload(run.catalogue.file, world.name)
    wait_for(lambda: "was started again" in life.log(), "the database to be started again")
    wait_for(life.is_ready, "the service to be ready again")
    if reply.status_code == 503:
        world.upload(run.catalogue.file, world.name)
    wait_for(lambda: all_requests(world), "a request")
    request_ids = all_requests(world)
    for request_id in request_ids:
        world.wait_for_end(request_id)

    assert reply.status_code == 202 or "Retry-After" in reply.headers
    counts = judge(world, dict.fromkeys(request_ids, run), hook=world.name)
    keep(f"4 kill -9 of mongod when: {step}", runs=1, kills=1, **counts)
