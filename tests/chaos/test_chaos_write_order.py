"""The order in which things become durable, which a kill alone cannot test, only a power cut."""

import io
import os
import stat
from functools import partial
from pathlib import Path

import pymongo
import pytest
from pymongo.monitoring import CommandListener

import app.database
from app import create_app
from app.services import build
from tests.chaos.origin_process import photograph


class Journal(CommandListener):
    """What was made durable, in the order in which each was done: tuples of words.

    `("fsync", "uploads file")`, `("name", "uploads")`, `("fsync", "uploads folder")`,
    `("journaled", "processing_requests")`, `("acknowledged", "products")`, `("reply", "202")`.
    """

    def __init__(self):
        self.events = []
        self._commands = {}

    def started(self, event):
        if event.command_name in ("insert", "update", "findAndModify"):
            is_journaled = bool(event.command.get("writeConcern", {}).get("j"))
            kind = "journaled" if is_journaled else "acknowledged"
            self._commands[event.request_id] = (kind, event.command[event.command_name])

    def succeeded(self, event):
        if event.request_id in self._commands:
            self.events.append(self._commands.pop(event.request_id))

    def failed(self, event):
        self._commands.pop(event.request_id, None)

    def watch_files(self, monkeypatch, areas):
        fsync, rename = os.fsync, os.rename

        def watched_fsync(descriptor):
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            self._note("fsync", path, areas, " folder" if is_folder else " file")

        def watched_rename(path, target):
            rename(path, target)
            self._note("name", Path(target), areas)

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "rename", watched_rename)

    def _note(self, what, path, areas, kind=""):
        """Of a request's own folder; that of the area itself is made once."""
        for area, folder in areas.items():
            if folder in path.parents:
                self.events.append((what, area + kind))


def assert_in_order(events, *expected):
    """They are all there, each of them after the one before."""
    rest = iter(events)
    for event in expected:
        assert event in rest, f"{event} is not where it belongs in {events}"


@pytest.fixture
def journal(monkeypatch, settings):
    journal = Journal()
    client = partial(pymongo.MongoClient, event_listeners=[journal])
    monkeypatch.setattr(app.database, "MongoClient", client)
    areas = {
        "uploads": settings.upload_dir,
        "processed": settings.processed_dir,
        "outputs": settings.output_dir,
    }
    journal.watch_files(monkeypatch, areas)
    return journal


@pytest.fixture
def idle(journal, settings):
    """The services, without the sweeper that would work too."""
    services = build(settings)
    yield services
    services.stop()


def test_202_is_said_after_the_file_its_name_and_the_journal_are_on_the_disk(
    journal, settings, idle, origin
):
    origin.serve("/a.jpg", photograph(1))
    client = create_app(settings, idle).test_client()
    file = (io.BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "a.csv")

    reply = client.post("/upload", data={"file": file}, buffered=True)
    journal.events.append(("reply", str(reply.status_code)))

    accepting = journal.events[: journal.events.index(("reply", "202"))]
    assert_in_order(
        accepting,
        ("journaled", "processing_requests"),
        ("fsync", "uploads file"),
        ("name", "uploads"),
        ("fsync", "uploads folder"),
        ("acknowledged", "products"),
        ("journaled", "segments"),
        ("journaled", "processing_requests"),
    )


def test_a_reused_image_is_named_in_the_database_once_its_name_is_on_the_disk(
    journal, settings, idle, origin, wait_for
):
    origin.serve("/a.jpg", photograph(1), etag='"v1"')
    client = create_app(settings, idle).test_client()

    for reused in (0, 1):
        journal.events.clear()
        file = (io.BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "a.csv")
        url = client.post("/upload", data={"file": file}).json["status_url"]
        wait_for(lambda: ("journaled", "processing_requests") in after_the_output(journal.events))
        assert client.get(url).json["progress"]["reused"] == reused

    assert ("fsync", "processed file") not in journal.events
    assert_in_order(
        journal.events,
        ("fsync", "processed folder"),
        ("acknowledged", "results"),
        ("acknowledged", "products"),
        ("journaled", "segments"),
    )


def after_the_output(events):
    written = ("fsync", "outputs folder")
    return events[events.index(written) :] if written in events else []


def test_an_image_is_named_in_the_database_once_it_is_on_the_disk(
    journal, settings, idle, origin, wait_for
):
    origin.serve("/a.jpg", photograph(1))
    client = create_app(settings, idle).test_client()
    file = (io.BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "a.csv")

    client.post("/upload", data={"file": file})
    # The listener hears of a command a moment after its effect can be seen.
    wait_for(lambda: ("journaled", "processing_requests") in after_the_output(journal.events))

    assert_in_order(
        journal.events,
        ("fsync", "processed file"),
        ("name", "processed"),
        ("fsync", "processed folder"),
        ("acknowledged", "results"),
        ("acknowledged", "products"),
        ("journaled", "segments"),
        ("fsync", "outputs file"),
        ("name", "outputs"),
        ("fsync", "outputs folder"),
        ("journaled", "processing_requests"),
    )
