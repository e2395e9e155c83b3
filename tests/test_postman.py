"""docs/postman is what `make postman` makes, and runs from its first request to its last."""

import json
import shutil
import subprocess

import pytest

from tests.described import document
from tests.service_process import PROJECT, service_process
from tools.postman import COLLECTION, ENVIRONMENT, FLOW, FOLDER, make

NEWMAN = shutil.which("newman")


def test_what_is_committed_is_what_the_command_makes():
    for name, text in make().items():
        assert (FOLDER / name).read_text() == text, f"{name} is old: make postman"


def test_every_operation_has_a_request():
    described = {
        operation["operationId"]
        for item in document()["paths"].values()
        for operation in item.values()
    }

    assert {step.operation_id for steps in FLOW.values() for step in steps} == described


@pytest.mark.skipif(not NEWMAN, reason="needs newman: npm install --global newman@6.2.2")
def test_newman_runs_the_collection_against_the_service(tmp_path):
    report_path = tmp_path / "report.json"
    with service_process(tmp_path, BASE_URL="http://127.0.0.1:8000") as service:
        service.wait_until_ready()
        ran = subprocess.run(
            [
                *(NEWMAN, "run", FOLDER / COLLECTION, "--environment", FOLDER / ENVIRONMENT),
                *("--env-var", f"base_url={service.url}"),
                *("--reporters", "cli,json", "--reporter-json-export", report_path),
            ],
            cwd=PROJECT,  # where samples/catalog.csv is
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    assert ran.returncode == 0, ran.stdout
    run = json.loads(report_path.read_text())["run"]
    sent = {execution["item"]["name"] for execution in run["executions"]}
    assert len(sent) == sum(len(steps) for steps in FLOW.values())
    assert run["stats"]["assertions"]["total"] > len(sent)
