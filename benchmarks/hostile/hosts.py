"""Hosts that drip and lie, seen from the service and from the client alone in a process."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from app.addresses import AddressGuard, parse_allowed_addresses
from app.config import Settings
from app.errors import ImageFailed
from app.outbound import Outbound
from benchmarks.hostile.figures import Figure, Peak
from tests.origin import Origin, head
from tests.service_process import PROJECT, service_process

GOOD, DRIPS = 480, 20
MAX_IMAGE_BYTES = Settings.model_fields["max_image_bytes"].default
DEADLINE_SECONDS = 2.0
LIES = {
    "/drips-headers": "drips its headers",
    "/drips-body": "drips its body",
    "/endless": "sends chunks without end",
    "/bomb": "packs 400 MB into a gzip body",
    "/huge": "announces 100 GB",
    "/less": "announces 40 MB and sends 10 bytes",
    "/more": "announces 10 bytes and sends 100 MB",
}


def drips(folder: Path) -> Iterator[Figure]:
    """20 URLs that drip among 500: how much later the others are done."""
    sample = PROJECT / "samples" / "cat-400.jpg"
    kinds = {"thumbnails": sample.read_bytes(), "photographs": _photograph(sample)}
    with service_process(folder) as service:
        service.wait_until_ready()
        for kind, picture in kinds.items():  # each with hosts on which nothing drips yet
            with Origin() as origin, Origin("127.0.0.2") as other:
                for number in range(GOOD):
                    origin.serve(f"/{number}.jpg", picture)
                good = [origin.url(f"/{number}.jpg") for number in range(GOOD)]
                _seconds(service.url, good[:100])  # warms up
                alone = _seconds(service.url, good)
                for name, host in (("another host", other), ("the same host", origin)):
                    seconds = _seconds(service.url, _mixed(good, _dripping(host)))
                    yield Figure(
                        f"480 {kind} beside 20 URLs that drip, of {name}",
                        round(seconds / alone, 2),
                        " × alone",
                        2,
                        f"{alone:.1f} s alone, {seconds:.1f} s beside them; they went on dripping",
                    )


def _dripping(host: Origin) -> list[str]:
    for number in range(DRIPS):
        host.drip(f"/drip-{number}.jpg", part="headers" if number % 2 else "body")
    return [host.url(f"/drip-{number}.jpg") for number in range(DRIPS)]


def _photograph(sample: Path) -> bytes:
    file = io.BytesIO()
    with Image.open(sample) as picture:
        picture.resize((1_600, 1_200)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _mixed(good: list[str], dripping: list[str]) -> list[str]:
    """One that drips before every 24 others."""
    share = len(good) // len(dripping)
    runs = (good[at * share : (at + 1) * share] for at in range(len(dripping)))
    return [url for drip, run in zip(dripping, runs, strict=True) for url in (drip, *run)]


def _seconds(service_url: str, urls: list[str]) -> float:
    """From the upload until the good ones are done; then it is cancelled."""
    file = {"file": ("catalog.csv", "Images\n" + "\n".join(urls) + "\n")}
    began = time.perf_counter()
    reply = requests.post(f"{service_url}/upload", files=file, timeout=60)
    request_id = reply.json()["request_id"]
    while True:
        status = requests.get(f"{service_url}/status/{request_id}?images=none", timeout=60).json()
        if status["progress"]["completed"] >= min(GOOD, len(urls)):
            seconds = time.perf_counter() - began
            if status["status"] == "processing":
                requests.post(f"{service_url}/cancel/{request_id}", timeout=60)
            return seconds
        if time.perf_counter() - began > 150:
            raise TimeoutError(f"not done: {status['progress']}")
        time.sleep(0.02)


def lies(_folder: Path) -> Iterator[Figure]:
    """Each lie is fetched once by a process of its own, whose memory is watched."""
    with Origin() as origin:
        origin.drip("/drips-headers", part="headers")
        origin.drip("/drips-body", part="body")
        origin.endless("/endless")
        origin.gzip_bomb("/bomb", 400_000_000)
        origin.serve("/huge", b"x" * 1_000, content_length=10**11)
        origin.serve("/less", b"x" * 10, content_length=40_000_000)
        origin.raw("/more", head(200, [("Content-Length", 10)]) + bytes(100_000_000))
        for path, what in LIES.items():
            seen = _fetched_in_a_child(origin.url(path), origin.url("/warm"))
            if "drips" in path:
                over_seconds = round(seen["seconds"] - DEADLINE_SECONDS, 2)
                how = f"deadline {DEADLINE_SECONDS:g} s, {seen['outcome']}"
                yield Figure(f"a host that {what}: beyond the deadline", over_seconds, " s", 1, how)
            beyond_mb = round(max(0, seen["mb"] - MAX_IMAGE_BYTES / 1_048_576), 1)
            how = f"VmHWM grew by {seen['mb']:g} MB, {seen['outcome']}"
            yield Figure(f"a host that {what}: memory beyond the limit", beyond_mb, " MB", 20, how)


def _fetched_in_a_child(url: str, warm_url: str) -> dict[str, Any]:
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.hostile.hosts", url, warm_url],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    seen: dict[str, Any] = json.loads(child.stdout)
    return seen


def main(url: str, warm_url: str) -> None:
    """The child: fetches once and tells what it cost."""
    outbound = Outbound(
        guard=AddressGuard(parse_allowed_addresses("127.0.0.0/8")),
        user_agent="Pressroom",
        fetch_timeout_seconds=DEADLINE_SECONDS if "drips" in url else 60,
        max_image_bytes=MAX_IMAGE_BYTES,
    )
    _outcome(outbound, warm_url)
    peak, began = Peak(os.getpid()), time.perf_counter()
    outcome = _outcome(outbound, url)
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"outcome": outcome, "seconds": seconds, "mb": peak.mb}))


def _outcome(outbound: Outbound, url: str) -> str:
    try:
        return f"{len(outbound.fetch(url).body)} bytes taken"
    except ImageFailed as error:
        return str(error.code)


if __name__ == "__main__":
    main(*sys.argv[1:])
