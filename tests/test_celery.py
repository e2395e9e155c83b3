"""ENGINE=celery: what is submitted reaches a worker, once, or is refused while the broker is away.

That nothing is lost under kill -9 is in tests/chaos/test_chaos_celery.py.
"""

import io
import json
import signal
import time
from contextlib import ExitStack

import pytest
import redis as redis_client
import requests
from pydantic import SecretStr

from app.config import Settings
from app.demo_fleet import what_it_needs
from app.engine.celery import QUEUE, CeleryEngine
from app.errors import BrokerUnavailable, SettingsError
from tests import fleet
from tests.service_process import service_process

pytestmark = fleet.needs_redis


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with fleet.redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def queue(broker):
    """The waiting segment ids, oldest first, as `queue.ids()`; empty before each test."""
    with redis_client.Redis(port=broker.port) as client:
        client.flushall()
        client.ids = lambda: [_segment_of(message) for message in client.lrange(QUEUE, 0, -1)][::-1]
        yield client


def _segment_of(message):
    told = json.loads(message)["headers"]["argsrepr"]
    return told.strip("(),'")


def settings_of(url, **values):
    return Settings(_env_file=None, engine="celery", celery_broker_url=url, **values)


@pytest.fixture
def engine_of():
    with ExitStack() as stack:

        def make(url):
            engine = CeleryEngine(settings_of(url))
            stack.callback(engine.stop)
            return engine

        yield make


def test_a_segment_submitted_again_while_it_waits_stands_in_the_queue_once(
    broker, queue, engine_of, wait_for
):
    engine = engine_of(broker.url)
    for _ in range(3):
        engine.submit("a:1")
        engine.submit("a:101")
        wait_for(lambda: queue.llen(QUEUE) == 2)

    engine.submit("a:201")
    wait_for(lambda: queue.llen(QUEUE) >= 3)

    assert queue.ids() == ["a:1", "a:101", "a:201"]


def test_what_an_emptied_broker_has_forgotten_can_soon_be_submitted_again(
    broker, queue, engine_of, wait_for
):
    engine = engine_of(broker.url)
    engine.submit("a:1")
    wait_for(lambda: queue.ids() == ["a:1"])

    queue.flushall()

    def submit_again():
        engine.submit("a:1")
        return queue.ids() == ["a:1"]

    wait_for(submit_again, 5)


def test_a_queue_that_is_long_enough_is_not_made_longer(
    broker, queue, engine_of, wait_for, monkeypatch
):
    monkeypatch.setattr("app.engine.celery.MOST_WAITING", 2)
    engine = engine_of(broker.url)
    for number in range(3):
        engine.submit(f"a:{number}")
    wait_for(lambda: queue.llen(QUEUE) == 3)

    engine.submit("b:1")
    wait_for(lambda: "b:1" not in engine._to_say)

    assert "b:1" not in queue.ids()


def test_a_broker_that_hangs_holds_up_neither_who_submits_nor_who_asks(
    broker, queue, engine_of, wait_for
):
    engine = engine_of(broker.url)
    engine.check()
    broker.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        engine.submit("a:1")
        assert time.monotonic() - began < 0.5

        def is_away():
            try:
                engine.check()
            except BrokerUnavailable:
                return True

        wait_for(is_away)
        began = time.monotonic()
        assert is_away()
        assert time.monotonic() - began < 0.5
    finally:
        broker.process.send_signal(signal.SIGCONT)

    wait_for(lambda: not is_away())


def test_a_web_process_makes_no_image_itself(
    broker, queue, settings, build_services, client_of, origin, jpeg, wait_for
):
    settings = settings.model_copy(
        update={"engine": "celery", "celery_broker_url": SecretStr(broker.url)}
    )
    services = build_services(settings)
    services.start()
    client = client_of(settings, services)
    origin.serve("/a.jpg", jpeg)
    file = (io.BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "catalog.csv")

    request_id = client.post("/upload", data={"file": file}).json["request_id"]

    wait_for(lambda: queue.ids() == [f"{request_id}:1"])
    assert client.get(f"/status/{request_id}").json["queued"]


@pytest.fixture
def site(tmp_path):
    """Two web processes and one worker of two processes, on folders and a private MongoDB that
    they share; the broker is not there yet."""
    folder = tmp_path
    broker = fleet.Redis(folder)
    shared = {"ENGINE": "celery", "CELERY_BROKER_URL": broker.url, "WORKER_PROCESSES": 2}
    shared["BASE_URL"] = "http://127.0.0.1:9"
    with (
        service_process(folder, **shared) as first,
        service_process(folder, **shared) as second,
        fleet.worker_process(folder, first.port, **shared),
    ):
        try:
            yield first, second, broker
        finally:
            broker.kill()


def is_answering(service):
    try:
        return requests.get(f"{service.url}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


def upload(service, names):
    urls = "\n".join(f"http://127.0.0.1:9/samples/{name}" for name in names)
    files = {"file": ("catalog.csv", f"Images\n{urls}\n")}
    return requests.post(f"{service.url}/upload", files=files, timeout=30)


def test_a_job_uploaded_to_one_web_process_is_read_from_another_once_a_broker_is_there(
    site, wait_for
):
    first, second, broker = site
    wait_for(lambda: is_answering(first) and is_answering(second))

    def readiness():
        return requests.get(f"{first.url}/readyz", timeout=10).json()

    wait_for(lambda: readiness()["checks"]["database"] == "ok")
    assert "CELERY_BROKER_URL does not answer" in readiness()["checks"]["broker"]
    refused = upload(first, ["cat-240.jpg"])
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "broker" in refused.json()["error"]

    broker.start()
    wait_for(lambda: readiness()["ready"])
    accepted = upload(first, ["cat-240.jpg", "astronaut-240.jpg", "missing.jpg"])
    status_url = f"{second.url}/status/{accepted.json()['request_id']}"

    def ended():
        status = requests.get(status_url, timeout=10).json()
        return status if status["status"] == "completed" else None

    status = wait_for(ended, 60)
    assert (status["progress"]["completed"], status["progress"]["failed"]) == (2, 1)
    output = requests.get(f"{second.url}{status['output_csv_url']}", timeout=10)
    assert output.text.count("/processed/") == 2
    path = next(image["path"] for image in status["images"].values() if image["path"])
    assert requests.get(f"{first.url}/{path}", timeout=10).ok


def test_a_demo_without_redis_says_which_package_to_install(settings, monkeypatch):
    monkeypatch.setattr("app.demo_fleet.shutil.which", lambda _name: None)
    celery = settings.model_copy(update={"engine": "celery"})

    with pytest.raises(SettingsError, match="apt-get install redis-server"), what_it_needs(celery):
        pass
