"""What tests share: a private MongoDB server, the services on it, a local origin, patience.

Every worker of pytest-xdist has a server of its own, every test a database of its own.
"""

import ipaddress
import time
import uuid

import pytest
from flask.testing import FlaskClient
from pymongo import MongoClient

from app import create_app
from app.config import Settings
from app.database import connect
from app.database.private_server import PrivateServer
from app.outbound import Outbound
from app.services import build
from tests.origin import LoopbackOnly, Origin


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine(monkeypatch):
    """However an Outbound is built, it dials loopback or nothing."""
    sockets = LoopbackOnly()
    monkeypatch.setitem(Outbound.__init__.__kwdefaults__, "open_socket", sockets)
    yield
    assert all(ipaddress.ip_address(dialled).is_loopback for dialled in sockets.dialled)


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory):
    """The URI of a real server."""
    server = PrivateServer(tmp_path_factory.mktemp("mongodb"))
    yield server.start()
    server.stop()


@pytest.fixture
def settings(mongodb, tmp_path):
    """Folders and a database of the test's own, both gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    yield Settings(
        _env_file=None,
        mongodb_uri=mongodb,
        mongodb_database=name,
        data_dir=tmp_path / "data",
        upload_dir=tmp_path / "uploads",
        processed_dir=tmp_path / "processed",
        output_dir=tmp_path / "outputs",
        min_free_bytes=0,
        allowed_addresses="127.0.0.0/8, ::1",
    )
    with MongoClient(mongodb) as client:
        client.drop_database(name)


@pytest.fixture
def database(settings):
    """The database that `services` use too."""
    database = connect(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
    yield database
    database.close()


@pytest.fixture
def services(settings):
    services = build(settings)
    services.start()
    yield services
    services.stop()


class Client(FlaskClient):
    """Reads every reply to its end, so that no file of one stays open."""

    def open(self, *args, **kwargs):
        return super().open(*args, **{"buffered": True} | kwargs)


def client_of(app):
    app.test_client_class = Client
    return app.test_client()


@pytest.fixture
def client(settings, services):
    return client_of(create_app(settings, services))


@pytest.fixture
def origin():
    with Origin() as origin:
        yield origin


@pytest.fixture
def wait_for():
    """A function that returns what `look` finds, once that is true."""

    def wait(look, seconds=20):
        give_up_at = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < give_up_at, f"not so within {seconds} s"
            time.sleep(0.02)
        return found

    return wait
