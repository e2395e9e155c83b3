"""The factory connects to nothing; the services start with the first request that needs them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from app.api.lazy import LazyServices
from app.config import Settings
from app.errors import DatabaseUnavailable, SettingsError, Unavailable


class Parts:
    """Plays the services: counts what is done to them."""

    def __init__(self):
        self.started = 0
        self.stopped = 0

    def start(self):
        self.started += 1

    def stop(self):
        self.stopped += 1


class Builder:
    """Plays `services.build`, failing with each of `failures` first."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.built = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, settings):
        assert self.gate.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        self.built.append(Parts())
        return self.built[-1]


@pytest.fixture
def bare_settings():
    return Settings(_env_file=None)


def lazy_of(settings, builder):
    return LazyServices(settings, build=builder)


def test_making_the_app_starts_nothing(client_of, bare_settings):
    threads = set(threading.enumerate())

    client = client_of(bare_settings)

    assert client.get("/healthz").status_code == 200
    assert set(threading.enumerate()) == threads


def test_the_app_begins_with_real_services_at_the_first_request(client_of, settings):
    client = client_of(settings)
    try:
        assert client.get("/webhook").json == {"events": [], "next": None}
    finally:
        client.application.extensions["pressroom"].stop()


def test_a_hundred_first_requests_start_the_services_once(bare_settings):
    builder = Builder()
    lazy = lazy_of(bare_settings, builder)

    with ThreadPoolExecutor(20) as pool:
        got = set(pool.map(lambda _: lazy.get(), range(100)))

    assert got == set(builder.built)
    assert [parts.started for parts in builder.built] == [1]


def test_after_a_failed_start_the_next_request_tries_again(bare_settings):
    builder = Builder(DatabaseUnavailable("away"), SettingsError("no mongod"))
    lazy = lazy_of(bare_settings, builder)

    with pytest.raises(DatabaseUnavailable):
        lazy.get()
    with pytest.raises(SettingsError):
        lazy.get()

    assert lazy.get() is builder.built[0]


def test_whoever_does_not_want_to_wait_for_a_long_start_is_told(bare_settings):
    builder = Builder()
    builder.gate.clear()
    lazy = lazy_of(bare_settings, builder)

    with pytest.raises(Unavailable, match="still starting"):
        lazy.get(timeout_seconds=0.01)

    builder.gate.set()
    assert lazy.get() is builder.built[0]


def test_a_stop_ends_what_was_started_and_nothing_starts_any_more(bare_settings):
    builder = Builder()
    lazy = lazy_of(bare_settings, builder)
    lazy.get()

    lazy.stop()

    assert builder.built[0].stopped == 1
    with pytest.raises(Unavailable, match="stopping"):
        lazy.get()


def test_a_stop_without_or_after_a_failed_start_is_quiet(bare_settings):
    failed = lazy_of(bare_settings, Builder(DatabaseUnavailable("away")))
    with pytest.raises(DatabaseUnavailable):
        failed.get()

    failed.stop()
    lazy_of(bare_settings, Builder()).stop()


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
