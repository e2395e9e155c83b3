"""`/healthz` answers as long as the process lives; `/readyz` says what is missing, and quickly."""

import threading
import time
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from app.api.lazy import LazyServices
from app.database.private_server import PrivateServer
from app.errors import DatabaseUnavailable, SettingsError

ALL_OK = {"database": "ok", "storage": "ok", "disk": "ok", "ca_bundle": "ok"}


@pytest.fixture
def bundle(tmp_path):
    """Stands for the system's, so that a machine without one runs the tests as well."""
    path = tmp_path / "ca.pem"
    path.write_text("-")
    return str(path)


@pytest.fixture
def readiness_of(client_of, settings, bundle):
    """A function that asks an app whose services are made by `build`."""

    def ask(build, **changes):
        changed = settings.model_copy(update={"ca_bundle": bundle} | changes)
        client = client_of(changed)
        client.application.extensions["pressroom"] = LazyServices(changed, build=build)
        return client.get("/readyz")

    return ask


@pytest.fixture
def services(build_services, settings):
    """Not started: the app does that."""
    return build_services(settings)


def assert_lacks(reply, name, reason):
    assert reply.status_code == 503
    assert reply.json["ready"] is False
    assert reason in reply.json["checks"][name]
    assert f"{name}: " in reply.json["error"]
    assert reason in reply.json["error"]


def test_health_needs_nothing(client_of, settings):
    reply = client_of(settings).get("/healthz")

    assert (reply.status_code, reply.json) == (200, {"status": "ok"})


@pytest.mark.plain_site
def test_ready_when_all_is_there(readiness_of, services):
    reply = readiness_of(lambda _: services)

    assert (reply.status_code, reply.json) == (200, {"ready": True, "checks": ALL_OK})


def test_a_database_that_is_away_is_named(readiness_of):
    def build(_):
        raise DatabaseUnavailable("the database does not answer")

    reply = readiness_of(build)

    assert_lacks(reply, "database", "does not answer")
    assert reply.json["checks"] == ALL_OK | {"database": "the database does not answer"}


def test_services_that_cannot_be_built_are_told_without_the_reason_that_names_folders(readiness_of):
    def build(_):
        raise SettingsError("the private MongoDB server cannot use /srv/secret/place")

    reply = readiness_of(build)

    assert_lacks(reply, "database", "its log says what is missing")
    assert "/srv" not in reply.text


def test_a_fault_of_our_own_is_told_too(readiness_of):
    def build(_):
        raise RuntimeError("a bug in /srv/secret/place")

    reply = readiness_of(build)

    assert_lacks(reply, "database", "its log says what is missing")
    assert "/srv" not in reply.text


def test_a_start_that_hangs_does_not_hang_the_answer(readiness_of):
    gate = threading.Event()
    began = time.monotonic()

    def build(_):
        gate.wait(30)
        raise DatabaseUnavailable("never")

    reply = readiness_of(build)
    gate.set()

    assert_lacks(reply, "database", "still starting")
    assert time.monotonic() - began < 3


def test_a_database_that_was_there_and_went_is_named_in_time(
    client_of, settings, bundle, tmp_path, build_services
):
    server = PrivateServer(tmp_path / "mongodb")
    changes = {"mongodb_uri": SecretStr(server.start()), "ca_bundle": bundle}
    changed = settings.model_copy(update=changes)
    client = client_of(changed, build_services(changed))
    server.stop()
    began = time.monotonic()

    reply = client.get("/readyz")

    assert_lacks(reply, "database", "does not answer")
    assert time.monotonic() - began < 3


def test_a_full_disk_is_named(readiness_of, build_services):
    reply = readiness_of(build_services, min_free_bytes=10**18)

    assert_lacks(reply, "disk", "MIN_FREE_BYTES")
    assert reply.json["checks"]["storage"] == "ok"


def test_a_full_disk_below_data_dir_alone_is_named_too(readiness_of, services, settings):
    settings.data_dir.mkdir(exist_ok=True)

    def usage(path):
        return SimpleNamespace(free=1_000 if path == settings.data_dir else 1_000_000)

    with patch("shutil.disk_usage", usage):
        reply = readiness_of(lambda _: services, min_free_bytes=1_001)

    assert_lacks(reply, "disk", "DATA_DIR has 1,000 bytes free")


@pytest.mark.plain_site
def test_a_folder_that_cannot_be_written_to_is_named_but_not_its_path(
    readiness_of, build_services, tmp_path
):
    in_the_way = tmp_path / "in-the-way"
    in_the_way.write_text("a file")

    reply = readiness_of(build_services, processed_dir=in_the_way)

    assert_lacks(reply, "storage", "processed/: the disk refuses")
    assert str(tmp_path) not in reply.text


def test_a_missing_ca_bundle_is_named(readiness_of, services, tmp_path):
    reply = readiness_of(lambda _: services, ca_bundle=str(tmp_path / "nowhere.pem"))

    assert_lacks(reply, "ca_bundle", "CA_BUNDLE")
    assert str(tmp_path) not in reply.text
