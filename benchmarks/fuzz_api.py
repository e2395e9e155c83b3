"""python -m benchmarks.fuzz_api [EXAMPLES]: schemathesis over `/openapi.json`, with all checks.

Against the real service with a private MongoDB, an API key, requests that have ended, and no way
off the machine: every URL is fetched through a proxy on loopback, and sockets open loopback only.
Ends with 1 when a check fails that `fuzz_api.toml` does not explain.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.origin import Origin
from tests.service_process import PROJECT, ServiceProcess, service_process

EXAMPLES = 300
FOLDER = Path(__file__).parent
_KEY = {"Authorization": "Bearer fuzz-key"}
_ENDED_REQUESTS = 8
_CATALOGUE = "SKU,Images\n1,{0}/samples/cat-240.jpg\n2,{0}/samples/none.jpg\n"


@dataclass(frozen=True)
class Found:
    """`failures`: what schemathesis calls them, one each; `output` is all it says."""

    operations: int
    calls: int
    failures: list[str]
    output: str
    log: str


def fuzz(folder: Path, examples: int, seed: int = 1) -> Found:
    """`examples` calls an operation and phase, beside those that schemathesis always makes."""
    with Origin() as proxy, _service(folder, proxy) as service:
        service.wait_until_ready()
        config = folder / "schemathesis.toml"
        config.write_text((FOLDER / "fuzz_api.toml").read_text() + _known(service))
        ran = _schemathesis(service, config, examples, seed)
    found = _found(folder / "report.json", ran, service.log())
    if service.process.returncode != 0:
        found.failures.append(f"the service ended with {service.process.returncode}")
    return found


def _service(folder: Path, proxy: Origin) -> Any:
    return service_process(
        folder,
        command=("-m", "tests.loopback_service"),
        PROXY_URL=proxy.url(""),
        API_KEYS="fuzz:fuzz-key",
        FETCH_TIMEOUT_SECONDS=2,
        LOG_LEVEL="WARNING",
    )


def _known(service: ServiceProcess) -> str:
    """Requests that have ended and an image of one, so that not every path is 404."""
    ended = [_upload(service) for _ in range(_ENDED_REQUESTS)]
    ids = [each["request_id"] for each in ended]
    names = [i["path"].rpartition("/")[2] for i in ended[0]["images"].values() if i["path"]]
    return "\n".join(
        [
            "[dictionaries]",
            f"ids.values = {json.dumps(ids)}",
            f"names.values = {json.dumps([*names, 'cat-240.jpg', 'catalog.csv'])}",
            "[parameters]",
            '"path.request_id" = { dictionary = "ids", probability = 0.7 }',
            '"path.name" = { dictionary = "names", probability = 0.7 }',
            "",
        ]
    )


def _upload(service: ServiceProcess) -> dict[str, Any]:
    reply = requests.post(
        f"{service.url}/upload",
        files={"file": ("catalog.csv", _CATALOGUE.format(service.url))},
        data={"webhook_url": f"{service.url}/webhook"},
        headers=_KEY | {"Prefer": "wait=20"},
        timeout=30,
    )
    status: dict[str, Any] = reply.json()
    return status


def _schemathesis(
    service: ServiceProcess, config: Path, examples: int, seed: int
) -> subprocess.CompletedProcess[str]:
    program = shutil.which("schemathesis", path=Path(sys.executable).parent) or "schemathesis"
    command = [program, "--no-color", "--config-file", str(config), "run"]
    command += [f"{service.url}/openapi.json", "--header", "Authorization: Bearer fuzz-key"]
    command += ["--max-examples", str(examples), "--seed", str(seed)]
    command += ["--continue-on-failure", "--generation-database", "none"]
    command += ["--report", "json", "--report-json-path", str(config.parent / "report.json")]
    return subprocess.run(
        command,
        cwd=config.parent,  # it leaves a folder of its own
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": "benchmarks.fuzz_api_hooks", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


def _found(report_path: Path, ran: subprocess.CompletedProcess[str], log: str) -> Found:
    if not report_path.exists():
        raise RuntimeError(ran.stdout + ran.stderr)
    report = json.loads(report_path.read_text())
    failures = [json.dumps(each) for each in report["failures"] + report["errors"]]
    return Found(
        operations=report["operations"]["tested"],
        calls=report["test_cases"]["generated"],
        failures=failures,
        output=ran.stdout,
        log=log,
    )


def main() -> int:
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLES
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), examples)
    sys.stdout.write(f"{found.output}\n{found.log}\n")
    sys.stdout.write(
        f"{found.calls:,} calls of {found.operations} operations, {len(found.failures)} failures\n"
    )
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
