"""Images a second by the number of workers of ENGINE=celery: `python -m benchmarks.scaling`.

In: an origin that answers after 200 ms, and workers that sleep for as long as coding a photograph
takes, one image at a time each. Out: a table of rates and of processor time an image, by who used
it; with `--out` in scaling.json, scaling.svg and between the markers of scaling.md.
"""

import argparse
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import usage
from benchmarks.coding import compress_median_ms
from benchmarks.corpus import ORIGINALS, photographs
from benchmarks.origin import serving
from benchmarks.runs import tell
from benchmarks.scaling_plot import write_plot
from benchmarks.service import Inbox, Service, running
from tests.fleet import redis, worker_process

LATENCY_SECONDS = 0.2
CORPUS_IMAGES = 48
LONGEST_SIDE = 2_000
CORES = len(os.sched_getaffinity(0))
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Step:
    """One number of workers; CPU in milliseconds an image.

    Of the cores that are busy, ours are those of the five; more than those means a busy machine.
    """

    workers: int
    images_per_second: float
    of_linear: float
    cores_busy: float
    cores_ours: float
    worker_ms: float
    web_ms: float
    mongod_ms: float
    redis_ms: float
    origin_ms: float


@dataclass(frozen=True)
class Site:
    service: Service
    redis_pid: int
    origin_pid: int
    worker_pids: list[int]
    urls: Iterator[str]

    def cpu_seconds(self) -> dict[str, float]:
        web = usage.cpu(self.service.pid)
        return {
            "worker": sum(usage.cpu(pid).service_seconds for pid in self.worker_pids),
            "web": web.service_seconds,
            "mongod": web.database_seconds,
            "redis": usage.cpu(self.redis_pid).service_seconds,
            "origin": usage.cpu(self.origin_pid).service_seconds,
        }


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="scaling-"))
    try:
        coding_ms = arguments.coding_ms or _median_ms(folder)
        steps = _measure(folder, coding_ms, arguments)
    finally:
        shutil.rmtree(folder)
    table = _table(steps)
    sys.stdout.write(f"{table}\n\ncoding {coding_ms:.1f} ms, {CORES} cores\n")
    if arguments.out:
        _write(arguments.out, steps, coding_ms, table)


def _median_ms(folder: Path) -> float:
    tell("measuring how long a photograph takes to code")
    return compress_median_ms(photographs(folder, CORPUS_IMAGES, longest_side=LONGEST_SIDE))


def _measure(folder: Path, coding_ms: float, arguments: argparse.Namespace) -> list[Step]:
    steps: list[Step] = []
    with ExitStack() as stack:
        (folder / "root").mkdir()
        shutil.copy(ORIGINALS / "rocket.jpg", folder / "root" / "0.jpg")
        origin = stack.enter_context(
            serving(folder / "root", folder / "origin", may_use_nginx=False)
        )
        broker = stack.enter_context(redis(folder))
        settings = {
            "ENGINE": "celery",
            "CELERY_BROKER_URL": broker.url,
            "COMPRESS_WORKERS": 1,
            "WORKER_PROCESSES": 1,
        }
        service = stack.enter_context(running(folder, Inbox(), **settings))
        prefix = f"{origin.plain}/late/{LATENCY_SECONDS}/0.jpg"
        urls = (f"{prefix}?{number}" for number in itertools.count())
        site = Site(service, broker.process.pid, origin.process.pid, [], urls)
        command = ["-m", "benchmarks.sleeping", str(coding_ms / 1000)]
        port = int(service.url.rpartition(":")[2])
        for workers in range(1, arguments.workers + 1):
            worker = worker_process(folder, port, command=command, **settings)
            site.worker_pids.append(stack.enter_context(worker).pid)
            if workers not in arguments.steps:
                continue
            _warm_up(site)
            first = steps[0].images_per_second / steps[0].workers if steps else None
            steps.append(_step(site, arguments.seconds * 1000 / coding_ms, first))
            tell(str(steps[-1]))
    return steps


def _warm_up(site: Site) -> None:
    """Until every worker has had a segment: the first loads what a worker needs."""
    while True:
        before = [usage.cpu(pid).service_seconds for pid in site.worker_pids]
        site.service.run(itertools.islice(site.urls, 200 * len(site.worker_pids)))
        after = [usage.cpu(pid).service_seconds for pid in site.worker_pids]
        if all(b - a > 0.05 for a, b in zip(before, after, strict=True)):
            return


def _step(site: Site, images_a_worker: float, rate_of_one: float | None) -> Step:
    workers = len(site.worker_pids)
    images = int(images_a_worker * workers)
    before, busy_before, began = site.cpu_seconds(), _busy_seconds(), time.perf_counter()
    job = site.service.run(itertools.islice(site.urls, images))
    seconds = time.perf_counter() - began
    after, busy = site.cpu_seconds(), _busy_seconds() - busy_before
    rate = images / job.seconds
    of_linear = rate / ((rate_of_one or rate / workers) * workers)
    cpu = {f"{who}_ms": (after[who] - before[who]) / images * 1000 for who in before}
    ours = sum(after.values()) - sum(before.values())
    return Step(workers, rate, of_linear, busy / seconds, ours / seconds, **cpu)


def _busy_seconds() -> float:
    """All cores of the machine together: proc(5), stat, but for idle and waiting."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / _TICKS


def _table(steps: list[Step]) -> str:
    columns = ("workers", "images a second", "of linear", "cores busy", "of them ours")
    head = " | ".join((*columns, "CPU an image: worker", "web", "mongod", "redis", "origin"))
    lines = [f"| {head} |", "| ---: |" + " ---: |" * 9]
    for step in steps:
        own = (step.worker_ms, step.web_ms, step.mongod_ms, step.redis_ms, step.origin_ms)
        lines.append(
            f"| {step.workers} | {step.images_per_second:.0f} | {step.of_linear:.2f} "
            f"| {step.cores_busy:.2f} | {step.cores_ours:.2f} | "
            + " | ".join(f"{ms:.2f} ms" for ms in own)
            + " |"
        )
    return "\n".join(lines)


def _write(folder: Path, steps: list[Step], coding_ms: float, table: str) -> None:
    about = {"coding_ms": round(coding_ms, 2), "latency_ms": LATENCY_SECONDS * 1000, "cores": CORES}
    written = about | {"steps": [asdict(step) for step in steps]}
    (folder / "scaling.json").write_text(json.dumps(written, indent=2) + "\n")
    rates = {step.workers: step.images_per_second for step in steps}
    write_plot(folder / "scaling.svg", rates)
    page = folder / "scaling.md"
    if page.exists():
        before, _, rest = page.read_text().partition(BEGIN)
        note = f"Coding {coding_ms:.1f} ms an image, {CORES} cores."
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{table}\n\n{note}\n{END}{after}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--workers", type=int, default=8, help="from 1 to so many")
    parser.add_argument("--steps", type=int, nargs="+", help="only these numbers of workers")
    parser.add_argument("--seconds", type=float, default=30, help="about how long each step takes")
    parser.add_argument("--coding-ms", type=float, help="instead of what a photograph takes here")
    parser.add_argument("--out", type=Path, help="where JSON, plot and table go")
    arguments = parser.parse_args()
    arguments.steps = arguments.steps or range(1, arguments.workers + 1)
    return arguments


if __name__ == "__main__":
    main()
