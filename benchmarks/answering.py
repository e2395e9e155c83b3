"""What those wait who ask while the service is busy: for a status, and for a small request."""

import http.client
import math
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.runs import NotMeasured, tell
from benchmarks.service import Service, catalog_of, running

STATUS_PAUSE_SECONDS = 0.01
SMALL_IMAGES = 3
SMALL_PAUSE_SECONDS = 0.25


def status(bench: Bench) -> list[Row]:
    """`GET /status`, the default page of 100 images, over one connection while all cores code."""
    urls = bench.photographs.urls(bench.origin.plain, bench.scale.status_photographs)
    with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
        service.warm_up()
        request_id = service.upload(catalog_of(urls))
        time.sleep(bench.scale.settling_seconds)
        seconds = _ask_until_the_end(service, request_id)
    bench.raw["status"] = _summary(seconds)
    tell(f"status: {bench.raw['status']}")
    return [
        Row(
            "GET /status while all cores code: p99",
            percentile(seconds, 99) * 1000,
            unit=" ms",
            at_most=100,
            note=f"{len(seconds)} answers, median {percentile(seconds, 50) * 1000:.1f} ms",
        )
    ]


def small_requests(bench: Bench) -> list[Row]:
    """Requests of three images, one after another, while a large one runs."""
    large = bench.scale.large_beside
    urls = bench.thumbnails.urls(bench.origin.plain, large + bench.scale.small_requests * 3)
    with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
        service.warm_up()
        request_id = service.upload(catalog_of(urls[:large]))
        seconds = _small_ones(service, request_id, urls[large:])
    bench.raw["small requests"] = _summary(seconds)
    tell(f"small requests: {bench.raw['small requests']}")
    return [
        Row(
            f"{SMALL_IMAGES} images while {large:,} run: p95 to completed",
            percentile(seconds, 95),
            unit=" s",
            at_most=2,
            note=f"{len(seconds)} requests, median {percentile(seconds, 50):.2f} s",
        )
    ]


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many per cent do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def _ask_until_the_end(service: Service, request_id: str) -> list[float]:
    seconds = []
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)
    while not service.has_ended(request_id):
        began = time.perf_counter()
        connection.request("GET", f"/status/{request_id}")
        reply = connection.getresponse()
        reply.read()
        seconds.append(time.perf_counter() - began)
        if reply.status != 200:
            raise NotMeasured(f"/status was answered {reply.status}")
        time.sleep(STATUS_PAUSE_SECONDS)
    if not seconds:
        raise NotMeasured("the job had ended before it was asked for")
    return seconds


def _small_ones(service: Service, large_id: str, urls: Sequence[str]) -> list[float]:
    """Those that ended while the large one ran."""
    while not service.get(f"/status/{large_id}?images=none").json()["progress"]["completed"]:
        time.sleep(0.05)
    seconds = []
    for first in range(0, len(urls), SMALL_IMAGES):
        job = service.run(urls[first : first + SMALL_IMAGES])
        if service.has_ended(large_id):
            break
        seconds.append(job.seconds)
        time.sleep(SMALL_PAUSE_SECONDS)
    if not seconds:
        raise NotMeasured("the large request ended before a small one did")
    return seconds


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    shown = {f"p{percent}": round(percentile(seconds, percent), 4) for percent in (50, 95, 99)}
    return {"count": len(seconds)} | shown | {"max": round(max(seconds), 4)}
