"""What tests share: a private MongoDB server, the services on it, a local origin, patience.

Every worker of pytest-xdist has a server of its own, every test a database of its own; the S3
server that few tests need is one for all, and every test has a prefix of its own there.
"""

import io
import ipaddress
import os
import threading
import time
import uuid

import pytest
from flask.testing import FlaskClient
from PIL import Image
from pymongo import MongoClient

from app import create_app
from app.config import Settings
from app.database import connect
from app.database.private_server import PrivateServer
from app.outbound import Outbound
from app.services import build
from app.storage.s3 import Bucket
from tests import scaled, seaweed
from tests.described import assert_described
from tests.origin import LoopbackOnly, Origin


def pytest_collection_modifyitems(config, items):
    if scaled.IS_SCALED:
        scaled.only_whole_services(config, items)


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)


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


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """Where a real S3 server answers, which all workers of pytest-xdist share."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with seaweed.shared_server(shared / "seaweed") as urls:
        yield urls


@pytest.fixture
def bucket(s3):
    """A prefix of the test's own in a bucket of that server."""
    return Bucket(
        seaweed.BUCKET,
        f"tests/{uuid.uuid4().hex}",
        endpoint_url=s3["s3"],
        access_key_id=seaweed.OWNER[0],
        secret_access_key=seaweed.OWNER[1],
    )


@pytest.fixture(scope="session")
def scaled_site(tmp_path_factory):
    with scaled.site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def settings(mongodb, tmp_path, request):
    """Folders and a database of the test's own, both gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    others = {}
    if scaled.IS_SCALED:
        others |= request.getfixturevalue("scaled_site").settings
        others |= scaled.settings_of(request.getfixturevalue("bucket"))
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
        **others,
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
def build_services(request):
    """A function that builds services; they are stopped afterwards, started or not."""
    site = request.getfixturevalue("scaled_site") if scaled.IS_SCALED else None
    built = []

    def make(settings):
        built.append(build(settings))
        if site:
            site.add(built[-1])
        return built[-1]

    yield make
    for services in built:
        if site:
            site.stop(services)
        else:
            services.stop()


@pytest.fixture
def services(settings, build_services):
    services = build_services(settings)
    services.start()
    return services


class Client(FlaskClient):
    """Reads every reply to its end, so that no file of one stays open, and holds it against what
    /openapi.json says."""

    def open(self, *args, **kwargs):
        reply = super().open(*args, **{"buffered": True} | kwargs)
        assert_described(self.application, reply)
        return reply


@pytest.fixture
def client_of():
    """A function that makes an app as `create_app` does, and a client of it."""
    made = []

    def make(*args):
        made.append(create_app(*args))
        made[-1].test_client_class = Client
        return made[-1].test_client()

    yield make
    for app in made:
        app.extensions["pressroom"].stop()


@pytest.fixture
def client(client_of, settings, services):
    return client_of(settings, services)


@pytest.fixture
def upload(client):
    """A function that uploads a CSV, and returns the reply."""

    def send(text, *, name="catalog.csv", headers=None, **fields):
        file = (io.BytesIO(text.encode()), name)
        return client.post("/upload", data={"file": file, **fields}, headers=headers)

    return send


@pytest.fixture(scope="session")
def jpeg():
    """A small photograph, of which compressing takes half away."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


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


@pytest.fixture
def unfinished(upload, origin, jpeg):
    """The id of a request whose only image is held back."""
    origin.serve("/a.jpg", jpeg, gate=threading.Event())
    return upload(f"Images\n{origin.url('/a.jpg')}\n").json["request_id"]


@pytest.fixture
def free_places(client):
    """A function that takes every place there is for long requests, and says how many it took."""
    permits = client.application.extensions["pressroom_slots"]

    def take():
        places = 0
        while permits.acquire(blocking=False):
            places += 1
        return places

    return take
