"""The factory connects to nothing; the services start with the first request that needs them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from app.api import lazy as lazy_module
from app.api.lazy import LazyServices
from app.config import Settings
from app.database import connect
from app.errors import DatabaseUnavailable, SettingsError, Unavailable


class Parts:
    """Plays the services and their database: counts what is done to them."""

    def __init__(self):
        self.database = self
        self.is_away = False
        self.started = 0
        self.stopped = 0

    def ping(self, timeout_seconds):
        if self.is_away:
            raise DatabaseUnavailable("away again")

    def start(self):
        self.started += 1

    def stop(self):
        self.stopped += 1


class Builder:
    """Plays `services.build`, failing with each of `failures` first."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.tries = 0
        self.built = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, settings):
        self.tries += 1
        assert self.gate.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        self.built.append(Parts())
        return self.built[-1]


@pytest.fixture
def bare_settings():
    return Settings(_env_file=None)


@pytest.fixture
def lazy_of(bare_settings, monkeypatch):
    """A function that makes services which try often; they are stopped afterwards."""
    monkeypatch.setattr(lazy_module, "RETRY_SECONDS", 0.02)
    made = []

    def make(builder):
        made.append(LazyServices(bare_settings, build=builder))
        return made[-1]

    yield make
    for lazy in made:
        lazy.stop()


def refusal_of(lazy):
    """Why the services cannot be had; None when they can."""
    try:
        lazy.get()
    except Unavailable as error:
        return str(error)
    return None


def test_making_the_app_starts_nothing(client_of, bare_settings):
    threads = set(threading.enumerate())

    client = client_of(bare_settings)

    assert client.get("/healthz").status_code == 200
    assert not set(threading.enumerate()) - threads


def test_the_app_begins_with_real_services_at_the_first_request(client_of, settings):
    client = client_of(settings)
    try:
        assert client.get("/webhook").json == {"events": [], "next": None}
    finally:
        client.application.extensions["pressroom"].stop()


def test_a_hundred_first_requests_start_the_services_once(lazy_of):
    builder = Builder()
    lazy = lazy_of(builder)

    with ThreadPoolExecutor(20) as pool:
        got = set(pool.map(lambda _: lazy.get(), range(100)))

    assert got == set(builder.built)
    assert [parts.started for parts in builder.built] == [1]


def test_a_failed_start_is_tried_again_with_nobody_asking(lazy_of, wait_for):
    builder = Builder(DatabaseUnavailable("away"), SettingsError("no mongod"), OSError("a bug"))
    lazy = lazy_of(builder)

    lazy.begin()

    wait_for(lambda: builder.built and builder.built[0].started)
    assert lazy.get() is builder.built[0]


def test_after_a_failed_start_requests_are_told_the_reason_at_once(lazy_of, monkeypatch):
    monkeypatch.setattr(lazy_module, "RETRY_SECONDS", 60)
    builder = Builder(DatabaseUnavailable("away"))
    lazy = lazy_of(builder)
    assert refusal_of(lazy) == "away"
    began = time.monotonic()

    assert {refusal_of(lazy) for _ in range(100)} == {"away"}

    assert time.monotonic() - began < 1
    assert builder.tries == 1


def test_a_settings_error_is_told_to_whoever_began_and_not_to_callers(lazy_of, wait_for):
    lazy = lazy_of(Builder(*[SettingsError("/srv/secret/place")] * 1_000))
    heard = []

    lazy.begin(heard.append)

    wait_for(lambda: heard)
    assert str(heard[0]) == "/srv/secret/place"
    assert refusal_of(lazy) == lazy_module.NOT_SET_UP


def test_a_database_that_goes_is_told_at_once_until_it_is_back(lazy_of, wait_for):
    builder = Builder()
    lazy = lazy_of(builder)
    parts = lazy.get()

    parts.is_away = True
    wait_for(lambda: refusal_of(lazy) == "away again")
    parts.is_away = False
    wait_for(lambda: refusal_of(lazy) is None)

    assert lazy.get() is parts
    assert builder.tries == 1


def test_whoever_does_not_want_to_wait_for_a_long_start_is_told(lazy_of, wait_for):
    builder = Builder()
    builder.gate.clear()
    lazy = lazy_of(builder)

    with pytest.raises(Unavailable, match="still starting"):
        lazy.get(timeout_seconds=0.01)

    builder.gate.set()
    wait_for(lambda: refusal_of(lazy) is None)
    assert lazy.get() is builder.built[0]


def test_a_long_start_is_waited_for_only_at_its_begin(lazy_of, monkeypatch):
    monkeypatch.setattr(lazy_module, "FIRST_START_SECONDS", 0.2)
    builder = Builder()
    builder.gate.clear()
    lazy = lazy_of(builder)
    began = time.monotonic()

    assert "still starting" in refusal_of(lazy)
    assert time.monotonic() - began >= 0.2
    for _ in range(100):
        assert "still starting" in refusal_of(lazy)

    assert time.monotonic() - began < 2
    builder.gate.set()


def test_a_stop_ends_what_was_started_and_nothing_starts_any_more():
    builder = Builder()
    lazy = LazyServices(None, build=builder)
    lazy.get()

    lazy.stop()

    assert builder.built[0].stopped == 1
    assert refusal_of(lazy) == "the service is stopping"


@pytest.mark.parametrize("failure", [DatabaseUnavailable("away"), OSError("a bug")])
def test_a_stop_without_or_after_a_failed_start_is_quiet(failure):
    builder = Builder(failure)
    failed = LazyServices(None, build=builder)
    assert refusal_of(failed)

    failed.stop()
    LazyServices(None, build=builder).stop()

    assert builder.built == []


def test_given_services_are_left_to_whoever_made_them(bare_settings):
    parts = Parts()
    lazy = LazyServices(bare_settings, parts)

    lazy.stop()

    assert lazy.get() is parts
    assert (parts.started, parts.stopped) == (0, 0)


def test_a_database_that_is_away_is_503_on_that_request(client_of, settings):
    away = SecretStr("mongodb://127.0.0.1:1")
    nowhere = settings.model_copy(update={"mongodb_uri": away})
    client = client_of(nowhere)
    began = time.monotonic()

    reply = client.get("/webhook")

    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "5"
    assert "database" in reply.json["error"]
    assert time.monotonic() - began < 10
    client.application.extensions["pressroom"].stop()


def test_a_database_of_design_b_itself_is_refused_and_left_as_it_is(settings, database):
    foreign = database.client[f"{settings.mongodb_database}_b"]
    foreign["requests"].insert_one({"request_id": "x"})
    try:
        with pytest.raises(SettingsError, match=r"MONGODB_DATABASE: .* collection named requests"):
            connect(settings.mongodb_uri.get_secret_value(), foreign.name)

        assert foreign.list_collection_names() == ["requests"]
    finally:
        database.client.drop_database(foreign.name)
