"""`flask process`: the pipeline without a server, into a folder."""

import csv
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from urllib.parse import quote

import pytest
import requests
from pymongo import MongoClient

from app import create_app
from app.config import Settings
from tests.service_process import PROJECT, environment, service_process
from tests.terminal import COMMAND, ended, flask, read_all, read_until, started

SAMPLES = PROJECT / "samples" / "catalog.csv"


@pytest.fixture
def runs(mongodb):
    """A function that lists the databases of runs which are not at their end."""
    with MongoClient(mongodb) as client:
        yield lambda: [name for name in client.list_database_names() if "pressroom_run" in name]


@pytest.fixture
def catalog(tmp_path, origin):
    """A function that writes a catalogue of the origin's paths."""

    def write(*paths, name="catalog.csv"):
        file = tmp_path / name
        file.write_text("Images\n" + "".join(f"{origin.url(path)}\n" for path in paths))
        return file

    return write


@pytest.fixture
def run_here():
    """A function that runs the command in this process, as far as it is refused or only checks."""
    runner = create_app(Settings(_env_file=None)).test_cli_runner()
    return lambda *arguments: runner.invoke(args=["process", *map(str, arguments)])


def rows_of(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_catalogue_and_its_images_land_in_the_folder(tmp_path, mongodb, runs):
    out = tmp_path / "out"

    ran = flask(tmp_path, "process", SAMPLES, "--out", out, MONGODB_URI=mongodb)

    assert ran.returncode == 3, ran.stderr
    rows = rows_of(out / "catalog-compressed.csv")
    links = [link for row in rows for link in row["Output Image Urls"].split(",") if link]
    assert (len(rows), len(links)) == (48, 113)
    umask = os.umask(0)
    os.umask(umask)
    assert {(out / link).stat().st_mode & 0o777 for link in links} == {0o666 & ~umask}
    assert {path.name for path in out.iterdir()} == {"catalog-compressed.csv", "images"}
    assert runs() == []
    assert_plain_lines(ran, out)


def assert_plain_lines(ran, out):
    """Where no terminal is."""
    assert "of 116 images" in ran.stderr
    table = dict(line.rsplit(maxsplit=1) for line in ran.stdout.splitlines()[:7])
    assert (table["rows"], table["done"]) == ("48", "113")
    assert table["  http_404"] == table["  truncated"] == table["  not_an_image"] == "1"
    assert ran.stdout.endswith(f"{out}/catalog-compressed.csv\n{out}/images\n")
    assert not {"\r", "\x1b"} & set(ran.stdout + ran.stderr)


def test_a_terminal_shows_a_bar(tmp_path, mongodb):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(
        [*COMMAND, "process", str(SAMPLES), "--out", str(tmp_path / "out")],
        cwd=PROJECT,
        env=environment(tmp_path, 8000, MONGODB_URI=mongodb, TERM="xterm"),
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = read_all(ours)
    os.close(ours)

    assert "\rCompressing" in shown
    assert "100%|" in shown
    assert "Traceback" not in shown


def test_json_is_one_document_and_nothing_else_is_on_standard_output(
    tmp_path, mongodb, origin, jpeg, catalog
):
    origin.serve("/a.jpg", jpeg)
    out = tmp_path / "out"

    ran = flask(
        *(tmp_path, "process", catalog("/a.jpg"), "--out", out, "--json"),
        *("--base-url", "https://cdn.example/shop/"),
        MONGODB_URI=mongodb,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    document = json.loads(ran.stdout)
    assert document["status"] == "completed"
    assert (document["rows"], document["images"], document["completed"]) == (1, 1, 1)
    assert document["failures"] == {}
    assert 0 < document["bytes_out"] < document["bytes_in"]
    (row,) = rows_of(out / "catalog-compressed.csv")
    name = row["Output Image Urls"].removeprefix("https://cdn.example/shop/images/")
    assert (out / "images" / name).exists()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("SKU,Photo\n1,x\n", [], "no image column in the first 5 lines"),
        ("Images\nhtp://x\n", [], "row 1, line 2, Images: bad_url"),
        ("Images\nhttp://x/a.jpg\nhtp://x\n", ["--on-error", "reject"], "row 2, line 3, Images"),
        ("Images\nhttp://x/a.jpg\n", ["--image-column", "Photo"], "--image-column 'Photo'"),
        ("Images\nhttp://x/a.jpg\n", ["--quality", "0"], "--quality"),
        ("Images\nhttp://x/a.jpg\n", ["--base-url", "ftp://x"], "--base-url"),
    ],
)
def test_a_file_or_option_that_cannot_be_used_is_2_and_nothing_is_written(
    tmp_path, run_here, text, options, message
):
    (tmp_path / "catalog.csv").write_text(text)

    ran = run_here(tmp_path / "catalog.csv", "--out", tmp_path / "out", *options)

    assert (ran.exit_code, ran.stdout) == (2, "")
    assert message in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"catalog.csv"}


def test_with_json_a_refusal_is_as_the_apis(tmp_path, run_here):
    (tmp_path / "catalog.csv").write_text("Images\nhtp://x\n")

    ran = run_here(tmp_path / "catalog.csv", "--out", tmp_path / "out", "--json")

    document = json.loads(ran.stdout)
    assert document["error"].startswith("no valid image URL in 1 row:")
    assert document["faults"] == 1
    assert document["details"][0]["code"] == "bad_url"


def test_a_dry_run_starts_and_writes_nothing(tmp_path, run_here, monkeypatch):
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))

    ran = run_here(SAMPLES, "--out", tmp_path / "out", "--dry-run", "--json")

    assert ran.exit_code == 0
    assert json.loads(ran.stdout)["images"] == 116
    assert list(tmp_path.iterdir()) == []


def test_rows_left_out_for_faults_are_told_and_end_with_3(tmp_path, mongodb, origin, jpeg, catalog):
    origin.serve("/a.jpg", jpeg)
    file = catalog("/a.jpg")
    file.write_text(file.read_text() + "htp://x\n")

    ran = flask(tmp_path, "process", file, "--out", tmp_path / "out", MONGODB_URI=mongodb)

    assert ran.returncode == 3
    assert "row 2, line 3, Images: bad_url" in ran.stderr
    assert "left out for faults" in ran.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MIN_FREE_BYTES": 10**18}, "fewer than MIN_FREE_BYTES"),
        ({"MONGODB_URI": "mongodb://127.0.0.1:1"}, "the database does not answer"),
    ],
)
def test_what_cannot_be_finished_is_1_with_the_reason(tmp_path, mongodb, runs, settings, message):
    settings = {"MONGODB_URI": mongodb} | settings

    ran = flask(tmp_path, "process", SAMPLES, "--out", tmp_path / "out", **settings)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert runs() == []


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    tmp_path, mongodb, origin, jpeg, catalog, runs
):
    gate = threading.Event()
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg, gate=gate)
    origin.serve("/c.jpg", jpeg)
    command = ("process", catalog("/a.jpg", "/b.jpg", "/c.jpg"), "--out", tmp_path / "out")
    settings = {"MONGODB_URI": mongodb, "DOWNLOAD_WORKERS": 1}

    first = started(tmp_path, *command, **settings)
    origin.wait_until(lambda: origin.running("/b.jpg"), 20)
    beside = flask(tmp_path, *command, **settings)
    first.send_signal(signal.SIGINT)
    read_until(first.stderr, "Stopping once the images under way are done")
    gate.set()
    first = ended(first)
    second = flask(tmp_path, *command, **settings)

    assert (beside.returncode, first.returncode, second.returncode) == (1, 1, 0), second.stderr
    assert "another process works in" in beside.stderr
    assert "run the same command again to go on" in first.stderr
    assert "Going on with the run of" in second.stderr
    assert "3 images are done" in second.stderr
    assert [origin.count(path) for path in ("/a.jpg", "/b.jpg", "/c.jpg")] == [1, 1, 1]
    assert runs() == []


def test_a_killed_run_is_gone_on_with_where_it_stood(
    tmp_path, mongodb, origin, jpeg, catalog, wait_for
):
    gate = threading.Event()
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg, gate=gate)
    out = tmp_path / "out"
    command = ("process", catalog("/a.jpg", "/b.jpg"), "--out", out)
    killed = started(tmp_path, *command, MONGODB_URI=mongodb)
    origin.wait_until(lambda: origin.running("/b.jpg"), 20)
    with MongoClient(mongodb) as client:
        segments = client[(out / ".pressroom" / "database").read_text()]["segments"]
        wait_for(lambda: segments.find_one({"counts.completed": 1}))
    killed.kill()
    ended(killed)
    gate.set()

    ran = flask(tmp_path, *command, MONGODB_URI=mongodb)

    assert ran.returncode == 0, ran.stderr
    assert "1 of 2 images are done" in ran.stderr
    assert origin.count("/a.jpg") == 1
    assert len(list((out / "images").iterdir())) == 2


def test_what_a_killed_run_had_done_is_forgotten_for_another_file(
    tmp_path, mongodb, origin, jpeg, catalog, runs
):
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg, gate=threading.Event())
    out = tmp_path / "out"
    killed = started(
        *(tmp_path, "process", catalog("/a.jpg", "/b.jpg"), "--out", out), MONGODB_URI=mongodb
    )
    origin.wait_until(lambda: origin.running("/b.jpg"), 20)
    killed.kill()
    ended(killed)

    ran = flask(tmp_path, "process", catalog("/a.jpg"), "--out", out, MONGODB_URI=mongodb)

    assert ran.returncode == 0, ran.stderr
    assert "beginning anew" in ran.stderr
    assert {path.name for path in out.iterdir()} == {"catalog-compressed.csv", "images"}
    assert runs() == []


@pytest.fixture
def interrupted(tmp_path, mongodb, origin, jpeg, catalog, wait_for):
    """The command of a run that was killed with one of two images done."""
    gate = threading.Event()
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg, gate=gate)
    command = ("process", catalog("/a.jpg", "/b.jpg"), "--out", tmp_path / "out")
    killed = started(tmp_path, *command, MONGODB_URI=mongodb)
    origin.wait_until(lambda: origin.running("/b.jpg"), 20)
    with MongoClient(mongodb) as client:
        name = (tmp_path / "out" / ".pressroom" / "database").read_text()
        wait_for(lambda: client[name]["segments"].find_one({"counts.completed": 1}))
        killed.kill()
        ended(killed)
        gate.set()
        yield command
        client.drop_database(name)


def test_anew_leaves_nothing_of_an_interrupted_run(tmp_path, mongodb, origin, interrupted, runs):
    ran = flask(tmp_path, *interrupted, "--anew", MONGODB_URI=mongodb)

    assert ran.returncode == 0, ran.stderr
    assert "Going on" not in ran.stderr
    assert origin.count("/a.jpg") == 2
    assert runs() == []


def test_anew_forgets_no_database_that_it_cannot_drop(tmp_path, interrupted, runs):
    (before,) = runs()

    ran = flask(tmp_path, *interrupted, "--anew", MONGODB_URI="mongodb://127.0.0.1:1")

    assert ran.returncode == 1, ran.stderr
    assert (tmp_path / "out" / ".pressroom" / "database").read_text() == before


def test_images_that_are_gone_from_an_interrupted_run_are_made_with_anew(
    tmp_path, mongodb, interrupted
):
    (done,) = (tmp_path / "out" / ".pressroom" / "processed").glob("*/*")
    done.unlink()

    lost = flask(tmp_path, *interrupted, MONGODB_URI=mongodb)
    made = flask(tmp_path, *interrupted, "--anew", MONGODB_URI=mongodb)

    assert lost.returncode == 1
    assert "with --anew all are made again" in lost.stderr
    assert made.returncode == 0, made.stderr


def test_a_result_that_is_there_is_replaced_and_that_is_said(
    tmp_path, mongodb, origin, jpeg, catalog
):
    origin.serve("/a.jpg", jpeg)
    out = tmp_path / "out"
    out.mkdir()
    (out / "catalog-compressed.csv").write_text("of yesterday")

    ran = flask(tmp_path, "process", catalog("/a.jpg"), "--out", out, MONGODB_URI=mongodb)

    assert f"Replacing {out}/catalog-compressed.csv" in ran.stderr
    assert rows_of(out / "catalog-compressed.csv")[0]["Status"] == "completed"


def test_a_service_beside_it_and_its_unfinished_request_are_left_alone(
    tmp_path, origin, jpeg, catalog
):
    """Both on the same DATA_DIR, and so on the same private MongoDB server."""
    origin.serve("/a.jpg", jpeg)
    origin.serve("/held.jpg", jpeg, gate=threading.Event())
    with service_process(tmp_path) as service:
        service.wait_until_ready()
        file = {"file": ("theirs.csv", f"Images\n{origin.url('/held.jpg')}\n")}
        theirs = requests.post(f"{service.url}/upload", files=file, timeout=30).json()
        origin.wait_until(lambda: origin.running("/held.jpg"), 20)
        socket = (tmp_path / "data" / "mongodb" / "owner").read_text()
        with MongoClient(f"mongodb://{quote(socket, safe='')}") as client:
            before = documents_of(client)
            ran = flask(tmp_path, "process", catalog("/a.jpg"), "--out", tmp_path / "out")
            after = documents_of(client)
        status = requests.get(service.url + theirs["status_url"], timeout=10).json()
        listed = requests.get(f"{service.url}/requests", timeout=10).json()["requests"]
        service.process.kill()

    assert ran.returncode == 0, ran.stderr
    assert after == before
    assert status["status"] == "processing"
    assert [each["filename"] for each in listed] == ["theirs.csv"]
    assert {path.name for path in (tmp_path / "processed").iterdir()} <= {".gitkeep"}


def documents_of(client):
    """All that the service has stored, but for when its lease ends."""
    database = client["image_processor"]
    without = {"lease_expires_at": 0}
    names = ("processing_requests", "products", "segments", "results")
    return {name: list(database[name].find({}, without).sort("_id", 1)) for name in names}
