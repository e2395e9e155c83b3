"""Runs the benchmarks, prints their table, and writes them down. Called by `python -m benchmarks`.

In: options (`--help` lists them). Out: the table on standard output, progress on standard error,
and with `--out` the figures as JSON and a plot; docs/benchmarks.md says how each is measured.
"""

import argparse
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import PIL
import structlog

from benchmarks import accepting, answering, catalogue, growth, large, memory, throughput
from benchmarks.bench import CORES, QUICK, Bench, Scale
from benchmarks.img2dataset import Img2dataset
from benchmarks.origin import serving
from benchmarks.plot import write_plot
from benchmarks.report import Row, table, write_json
from benchmarks.runs import NotMeasured, tell
from benchmarks.service import Inbox

PROJECT = Path(__file__).resolve().parents[1]
Measure = Callable[[Bench], list[Row]]

MEASURES: dict[str, Measure] = {
    "photographs": throughput.photographs,
    "thumbnails": throughput.thumbnails,
    "memory": memory.memory,
    "status": answering.status,
    "small-requests": answering.small_requests,
    "accepting": accepting.accepting,
    "growth": growth.growth,
}
CATALOGUE_MEASURES: dict[str, Measure] = {
    "delta": catalogue.delta,
    "slow-host": catalogue.slow_host,
    "thin-host": catalogue.thin_host,
}
LARGE_MEASURES: dict[str, Measure] = {
    "large": large.large,
    "large-growth": growth.large_growth,
}


ALL_MEASURES = MEASURES | CATALOGUE_MEASURES | LARGE_MEASURES


def main() -> int:
    arguments = _arguments()
    kind, measures = _chosen(arguments)
    if arguments.only:
        measures = {name: ALL_MEASURES[name] for name in arguments.only}
    folder = arguments.folder.resolve()
    scale = QUICK if arguments.quick else Scale()
    if arguments.rounds:
        scale = replace(scale, rounds=arguments.rounds)
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)  # the peers' database server would tell of itself
    began = time.monotonic()
    with serving(folder / "corpus", folder / "origin") as origin:
        img2dataset = Img2dataset(folder, scale.with_img2dataset)
        bench = Bench(scale, folder, origin, Inbox(), img2dataset)
        rows = [row for name, measure in measures.items() for row in _rows(name, measure, bench)]
    about = _about(bench, time.monotonic() - began)
    sys.stdout.write(table(rows) + f"\n{', '.join(f'{k} {v}' for k, v in about.items())}\n")
    if arguments.out:
        if {"photographs", "thumbnails"} & bench.raw.keys():
            write_plot(arguments.out / "benchmarks.svg", bench.raw)
        write_json(arguments.out / f"{kind}.json", rows, about, bench.raw)
    return 0


def _chosen(arguments: argparse.Namespace) -> tuple[str, dict[str, Measure]]:
    """What the JSON is called, and what it is to hold."""
    if arguments.large:
        return "benchmarks-large", LARGE_MEASURES
    if arguments.catalogue:
        return "benchmarks-catalogue", CATALOGUE_MEASURES
    return "benchmarks", MEASURES


def _rows(name: str, measure: Measure, bench: Bench) -> list[Row]:
    tell(f"— {name}")
    try:
        return measure(bench)
    except NotMeasured as error:
        return [Row(name, None, note=str(error))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    names = list(ALL_MEASURES)
    parser.add_argument("--large", action="store_true", help="the measures that take long")
    parser.add_argument("--catalogue", action="store_true", help="delta runs, slow and thin hosts")
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="MEASURE", help=", ".join(names)
    )
    parser.add_argument("--rounds", type=int, help="instead of three")
    parser.add_argument("--quick", action="store_true", help="next to nothing of each, as a trial")
    parser.add_argument("--folder", type=Path, default=PROJECT / ".data" / "bench")
    parser.add_argument("--out", type=Path, help="where JSON and plot go")
    return parser.parse_args()


def _about(bench: Bench, seconds: float) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{CORES} cores, {_processor()}, {_memory_gb():.0f} GB",
        "Python": platform.python_version(),
        "Pillow": PIL.__version__,
        "origin": bench.origin.kind,
        "minutes": round(seconds / 60, 1),
    }


def _commit() -> str:
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
