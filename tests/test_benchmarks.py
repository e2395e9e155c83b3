"""The benchmarks run, on next to nothing. What they measure decides no test."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import requests

from benchmarks.origin import LATENCY_SECONDS, serving
from benchmarks.report import Row, table
from tests.fleet import needs_redis
from tests.service_process import PROJECT

WITHOUT_FIGURE = ("img2dataset", "images.zip")
"""The one is not installed in tests, the other may not be built yet."""


def run_benchmarks(folder, *measures):
    """What `python -m benchmarks --quick` wrote."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--folder", folder / "work"]
    command += ["--out", folder, "--only", *measures]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "benchmarks.json").read_text())


@pytest.mark.parametrize(
    "measures",
    [
        ("photographs", "small-requests", "growth", "delta", "slow-host", "thin-host"),
        ("thumbnails", "memory", "status", "accepting", "large"),
    ],
    ids=lambda measures: measures[0],
)
def test_every_measure_runs_on_a_tiny_corpus(tmp_path, measures):
    written = run_benchmarks(tmp_path, *measures)

    measured = [row for row in written["table"] if row["figure"] is not None]
    others = [row for row in written["table"] if row["figure"] is None]
    assert measured
    assert all(any(name in row["measure"] for name in WITHOUT_FIGURE) for row in others), others
    assert all(row["note"] for row in others)
    assert not [row for row in measured if row["verdict"] == "fails"]
    assert ElementTree.parse(tmp_path / "benchmarks.svg").getroot().tag.endswith("svg")


def test_without_nginx_an_origin_of_our_own_serves_the_same(tmp_path):
    root = tmp_path / "root"
    (root / "pictures").mkdir(parents=True)
    (root / "pictures" / "0.jpg").write_bytes(b"a picture")

    with (
        serving(root, tmp_path / "origin", may_use_nginx=False) as origin,
        requests.Session() as session,
    ):
        plain = session.get(f"{origin.plain}/pictures/0.jpg?1")
        slow = session.get(f"{origin.slow}/pictures/0.jpg")
        tls = session.get(f"{origin.tls}/pictures/0.jpg", verify=str(origin.authority))
        missing = session.get(f"{origin.plain}/pictures/1.jpg")

    assert [reply.content for reply in (plain, slow, tls)] == [b"a picture"] * 3
    assert slow.elapsed.total_seconds() >= LATENCY_SECONDS
    assert missing.status_code == 404


def test_the_table_says_by_how_much_a_target_is_missed():
    rows = [
        Row("a rate", 1.2, unit="×", at_least=1.5),
        Row("a time", 80, unit=" ms", at_most=100),
        Row("a memory", None, unit=" MB", at_most=150, note="it could not be read"),
    ]

    assert [row.verdict for row in rows] == ["misses by 0.3× (20%)", "holds", "not measured"]
    assert "it could not be read" in table(rows)


@needs_redis
def test_scaling_is_measured_with_workers_that_sleep(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scaling", "--out", tmp_path]
    command += ["--workers", "1", "--seconds", "1", "--coding-ms", "5"]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)

    (step,) = json.loads((tmp_path / "scaling.json").read_text())["steps"]
    assert step["images_per_second"] > 0
    assert ElementTree.parse(tmp_path / "scaling.svg").getroot().tag.endswith("svg")
