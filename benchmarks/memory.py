"""How much memory the service takes beyond what it has when idle, and whether that grows."""

import statistics
import threading
import time
from itertools import pairwise
from typing import Any

from benchmarks import usage
from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.runs import NotMeasured, tell
from benchmarks.service import Service, running

SAMPLE_SECONDS = 0.25
SETTLED_MB = 1
MOST_SETTLING_SECONDS = 30
MOST_MB = 150


class Watch:
    """Resident megabytes over idle, from when it is made until it is left; a context manager."""

    def __init__(self, pid: int):
        self._pid = pid
        self._idle_mb = usage.resident_mb(pid)
        self._samples: list[float] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._take_samples)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self.peak_mb = usage.peak_mb(self._pid) - self._idle_mb

    @property
    def quarters_mb(self) -> list[float]:
        """The median of each quarter of the time."""
        count = len(self._samples)
        bounds = [count * quarter // 4 for quarter in range(5)]
        quarters = [self._samples[first:last] for first, last in pairwise(bounds)]
        return [statistics.median(quarter or self._samples) for quarter in quarters]

    def as_json(self) -> dict[str, Any]:
        return {
            "idle_mb": round(self._idle_mb, 1),
            "peak_over_idle_mb": round(self.peak_mb, 1),
            "quarters_over_idle_mb": [round(quarter, 1) for quarter in self.quarters_mb],
        }

    def _take_samples(self) -> None:
        while True:
            self._samples.append(usage.resident_mb(self._pid) - self._idle_mb)
            if self._ending.wait(SAMPLE_SECONDS):
                return


def wait_until_idle(bench: Bench, service: Service) -> None:
    """Some of a service begins in the background, after it is ready: its worker processes."""
    before_mb = 0.0
    give_up_at = time.monotonic() + MOST_SETTLING_SECONDS
    while abs((now_mb := usage.resident_mb(service.pid)) - before_mb) > SETTLED_MB:
        if time.monotonic() > give_up_at:
            raise NotMeasured("the service's memory does not settle when idle")
        before_mb = now_mb
        time.sleep(bench.scale.settling_seconds)


def memory(bench: Bench) -> list[Row]:
    count = bench.scale.memory_thumbnails
    urls = bench.thumbnails.urls(bench.origin.plain, count)
    with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
        wait_until_idle(bench, service)
        with Watch(service.pid) as watch:
            job = service.run(urls)
    bench.raw["memory"] = watch.as_json() | {"images": count, "seconds": round(job.seconds, 1)}
    tell(f"memory: {bench.raw['memory']}")
    return memory_rows(f"{count:,} thumbnails", watch)


def memory_rows(job: str, watch: Watch) -> list[Row]:
    first, *_, last = watch.quarters_mb
    quarters = ", ".join(f"{quarter:.0f}" for quarter in watch.quarters_mb)
    return [
        Row(
            f"{job}: memory over idle",
            watch.peak_mb,
            unit=" MB",
            at_most=MOST_MB,
            note="the highest resident memory (VmHWM) of all processes of the service, the "
            "database's apart, over what it was after the start",
        ),
        Row(
            f"{job}: … last quarter over the first",
            round(last - first),
            unit=" MB",
            at_most=0,
            note=f"medians of the quarters over idle: {quarters} MB; whole megabytes count",
        ),
    ]
