"""The private server's data, saved while it runs and put back."""

import subprocess
import sys

import pytest
from pymongo import MongoClient

from app.database.backup import restore, save
from app.database.private_server import PrivateServer
from app.errors import Conflict
from tests.service_process import PROJECT, environment


def names(uri):
    with MongoClient(uri) as client:
        return sorted(document["name"] for document in client.shop.things.find())


def insert(uri, name):
    with MongoClient(uri) as client:
        client.shop.things.insert_one({"name": name})


def test_what_was_saved_is_there_again_and_what_came_later_is_not(tmp_path):
    data_dir, archive = tmp_path / "data", tmp_path / "backup.tar.gz"
    server = PrivateServer(data_dir)
    uri = server.start()
    insert(uri, "before")

    save(data_dir, archive)
    insert(uri, "after")
    assert names(uri) == ["after", "before"]
    server.stop()
    kept = restore(data_dir, archive)

    restored = PrivateServer(data_dir)
    assert names(restored.start()) == ["before"]
    restored.stop()
    assert kept.is_dir()


def test_nothing_is_restored_under_a_running_server(tmp_path):
    server = PrivateServer(tmp_path / "data")
    server.start()

    with pytest.raises(Conflict, match="stop it first"):
        restore(tmp_path / "data", tmp_path / "backup.tar.gz")

    server.stop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "No such file"), ({"MONGODB_URI": "mongodb://127.0.0.1:9"}, "use mongodump")],
)
def test_the_command_says_what_is_wrong(tmp_path, settings, message):
    ran = subprocess.run(
        [sys.executable, "-m", "app.database.backup", "restore", "missing.tar.gz"],
        cwd=PROJECT,
        env=environment(tmp_path, 8000) | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
