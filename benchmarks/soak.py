"""Hours in half an hour: does the service's memory grow while it works on and on?

    python benchmarks/soak.py [MINUTES]

Runs the real service under a steady load of small jobs from a local origin, for MINUTES (30), takes
its resident memory, threads and descriptors every few seconds after a warm-up of a sixth, and fits
a line. Fails when the 95 % interval of the slope lies wholly above 1 MB an hour, when threads or
descriptors grew, or when a temporary file is left. Prints what it saw as JSON.
"""

import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.origin import Origin  # noqa: E402 (the project is not installed)
from tests.service_process import service_process  # noqa: E402

IMAGES_A_JOB = 50
PAUSE_SECONDS = 1.0
SAMPLES = 300
MOST_SLOPE = 1.0  # MB an hour


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as folder, Origin() as origin:
        urls = serve_samples(origin)
        with service_process(Path(folder), LOG_LEVEL="WARNING") as service:
            service.wait_until_ready()
            figures = soak(service, urls, minutes * 60)
        figures["temporary_files"] = len(list(Path(folder).rglob(".tmp-*")))
    low, _high = figures["slope_mb_per_hour_95"]
    figures["holds"] = (
        low <= MOST_SLOPE
        and figures["threads_grown"] <= 0
        and figures["descriptors_grown"] <= 2
        and not figures["temporary_files"]
    )
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0 if figures["holds"] else 1


def serve_samples(origin: Origin) -> list[str]:
    """Every kind of sample picture, broken ones too."""
    paths = [path for path in sorted((PROJECT / "samples").iterdir()) if path.suffix != ".csv"]
    for path in paths:
        if path.is_file():
            origin.serve(f"/{path.name}", path.read_bytes())
    return [origin.url(f"/{path.name}") for path in paths if path.is_file()][:IMAGES_A_JOB]


def soak(service, urls: list[str], seconds: float) -> dict[str, object]:
    stopping, jobs = threading.Event(), []
    loader = threading.Thread(target=load, args=(service.url, urls, stopping, jobs))
    loader.start()
    try:
        time.sleep(seconds / 6)
        samples = []
        began = time.monotonic()
        for number in range(1, SAMPLES + 1):
            time.sleep(max(0.0, began + number * seconds * 5 / 6 / SAMPLES - time.monotonic()))
            samples.append((time.monotonic() - began, *usage(service.process.pid)))
    finally:
        stopping.set()
        loader.join()
    return summary(samples, jobs)


def load(url: str, urls: list[str], stopping: threading.Event, jobs: list[str]) -> None:
    catalog = "Images\n" + "".join(f"{image}\n" for image in urls)
    while not stopping.wait(PAUSE_SECONDS):
        reply = requests.post(
            f"{url}/upload",
            files={"file": ("catalog.csv", catalog)},
            headers={"Prefer": "wait=60"},
            timeout=90,
        )
        jobs.append(reply.json()["status"])
        requests.get(f"{url}/download/{reply.json()['request_id']}", timeout=30)


def usage(pid: int) -> tuple[float, int, int]:
    """Resident megabytes, threads, descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    resident = int(fields["VmRSS"].split()[0]) / 1024
    return resident, int(fields["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def summary(samples: list[tuple[float, float, int, int]], jobs: list[str]) -> dict[str, object]:
    hours = [sample[0] / 3600 for sample in samples]
    memory = [sample[1] for sample in samples]
    slope, error = slope_and_error(hours, memory)
    quarter = len(samples) // 4

    def grown(column: int) -> float:
        """The last quarter's median over the first one's."""
        values = [sample[column] for sample in samples]
        return statistics.median(values[-quarter:]) - statistics.median(values[:quarter])

    return {
        "minutes_sampled": round(hours[-1] * 60, 1),
        "samples": len(samples),
        "jobs": len(jobs),
        "jobs_completed": jobs.count("completed"),
        "memory_mb": [
            round(min(memory), 1),
            round(statistics.median(memory), 1),
            round(max(memory), 1),
        ],
        "slope_mb_per_hour": round(slope, 2),
        "slope_mb_per_hour_95": [round(slope - 1.96 * error, 2), round(slope + 1.96 * error, 2)],
        "threads_grown": grown(2),
        "descriptors_grown": grown(3),
    }


def slope_and_error(x: list[float], y: list[float]) -> tuple[float, float]:
    """Least squares; the error grows with the residuals' autocorrelation (first order)."""
    slope, intercept = statistics.linear_regression(x, y)
    residuals = [b - intercept - slope * a for a, b in zip(x, y, strict=True)]
    spread = sum((a - statistics.fmean(x)) ** 2 for a in x)
    variance = sum(r * r for r in residuals) / (len(x) - 2)
    moving = sum(a * b for a, b in itertools.pairwise(residuals))
    correlation = min(0.99, max(0.0, moving / (sum(r * r for r in residuals) or 1)))
    return slope, (variance / spread * (1 + correlation) / (1 - correlation)) ** 0.5


if __name__ == "__main__":
    sys.exit(main())
