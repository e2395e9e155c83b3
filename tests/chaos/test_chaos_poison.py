"""An image that ends the process which codes it becomes `poison`; all the others are done."""

import threading

import requests

from tests.chaos.judge import judge
from tests.chaos.origin_process import KILLER
from tests.chaos.scale import IS_LONG
from tests.chaos.world import wait_for

MOST_DEATHS = 40
ANSWER_SECONDS = 5
IMAGES = 499 if IS_LONG else 39


class Watch:
    """Asks /healthz again and again; `faults` has every answer that was none."""

    def __init__(self, life):
        self._url = f"{life.url}/healthz"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers, self.faults = 0, []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(0.02):
            try:
                requests.get(self._url, timeout=ANSWER_SECONDS).raise_for_status()
                self.answers += 1
            except requests.RequestException as error:
                self.faults.append(str(error))


def test_worker_processes_die_of_it_and_the_web_process_answers_throughout(world, run_of, keep):
    run = run_of(IMAGES, killers=1)
    life = world.start({"killer": KILLER.decode()}, WORKER_PROCESSES=2).wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)

    with Watch(life) as watch:
        world.wait_for_end(request_id)
        deaths = life.log().count("worker died")

    assert watch.answers
    assert not watch.faults
    counts = judge(world, {request_id: run.with_killers()}, hook=world.name)
    keep("6 killer image, worker processes", runs=1, kills=deaths, **counts)


def test_a_service_of_one_process_that_is_restarted_gets_past_it(world, run_of, keep):
    run = run_of(IMAGES, killers=1)
    plan = {"killer": KILLER.decode()}
    world.start(plan).wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)

    deaths = 0
    while not world.has_ended(request_id):
        if world.life.process.poll() is not None:
            deaths += 1
            assert deaths < MOST_DEATHS, "it dies again and again"
            world.start(plan)
    wait_for(world.life.is_ready, "the last life to be ready")

    counts = judge(world, {request_id: run.with_killers()}, hook=world.name)
    keep("6 killer image, one process restarted", runs=1, kills=deaths, **counts)
