"""What a catalogue team meets: the same catalogue again, a slow host among others, a thin one."""

import csv
import io
import statistics
import time
from collections.abc import Sequence

from benchmarks import corpus
from benchmarks.bench import Bench
from benchmarks.origin import serving
from benchmarks.report import Row, row
from benchmarks.runs import NotMeasured, Run, tell
from benchmarks.service import Service, catalog_of, running

POLL_SECONDS = 0.25
LONGEST_JOB_SECONDS = 3600
FAST = "a fast host alone"
MIXED = "a fast host, a slow one among it"


def delta(bench: Bench) -> list[Row]:
    """A catalogue, and then the same once more, in one service."""
    urls = bench.photographs.urls(bench.origin.plain, bench.scale.delta_photographs)
    shares, details = [], []
    for number in range(1, bench.scale.rounds + 1):
        with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
            service.warm_up()
            first, second = service.run(urls), service.run(urls)
        reused = second.progress["reused"]
        if reused != len(urls):
            return [Row("delta", None, note=f"only {reused} of {len(urls)} were reused")]
        shares.append(second.seconds / first.seconds)
        details.append({"first": first.seconds, "second": second.seconds})
        tell(f"delta, {number}: {first.seconds:.2f} s, then {second.seconds:.2f} s")
    bench.raw["delta"] = details
    return [
        Row(
            f"delta: {len(urls):,} photographs again, against the first time",
            statistics.median(shares),
            unit="×",
            at_most=0.1,
            note=f"{_median(details, 'first')} s, then {_median(details, 'second')} s",
        )
    ]


def slow_host(bench: Bench) -> list[Row]:
    """How long the images of a fast host take, with and without those of a slow one among them."""
    scale = bench.scale
    fast = bench.thumbnails.urls(bench.origin.plain, scale.fast_beside_slow)
    with serving(bench.corpora, bench.folder / "other", may_use_nginx=False) as other:
        late = f"{other.plain}/late/{scale.late_seconds:g}"
        slow = bench.thumbnails.urls(late, scale.slow_images)
        rates = bench.in_turns(
            "slow-host",
            {
                FAST: lambda: _run_until_done(bench, fast, fast),
                MIXED: lambda: _run_until_done(bench, _interleaved(fast, slow), fast),
            },
        )
    return [
        row(f"slow host: {FAST}", lambda: rates[FAST].median, unit=" /s"),
        row(f"slow host: {MIXED}", lambda: rates[MIXED].median, unit=" /s"),
        row(
            "slow host: the fast one's images take, against without it",
            lambda: rates[FAST].median / rates[MIXED].median,
            unit="×",
            at_most=1.1,
            note=f"{len(fast):,} and {len(slow):,} images in one request, which the slow host "
            f"answers after {scale.late_seconds:g} s; until the last of the fast one is recorded",
        ),
    ]


def thin_host(bench: Bench) -> list[Row]:
    """Large images from a host whose line is narrow: a job that is long, and loses nothing."""
    scale = bench.scale
    heavy = corpus.padded(bench.photographs, scale.heavy_bytes)
    with serving(bench.corpora, bench.folder / "other", may_use_nginx=False) as other:
        urls = heavy.urls(f"{other.plain}/thin", scale.heavy_images)
        with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
            service.warm_up()
            began = time.perf_counter()
            request_id = service.upload(catalog_of(urls))
            seconds = service.wait(request_id) - began
            progress = service.get(f"/status/{request_id}?images=none").json()["progress"]
    megabytes = progress["bytes_in"] / 1e6
    bench.raw["thin-host"] = {"seconds": seconds, "progress": progress}
    return [
        Row(
            "thin host: images that failed",
            progress["failed"],
            at_most=0,
            note=f"{len(urls)} of {scale.heavy_bytes / 1e6:g} MB over a line of 12 MB/s",
        ),
        Row("thin host: of its line was used", megabytes / seconds, unit=" MB/s"),
    ]


def _run_until_done(bench: Bench, urls: Sequence[str], awaited: Sequence[str]) -> Run:
    """Until those awaited are recorded; the rest is left, as the service is."""
    with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
        service.warm_up()
        began = time.perf_counter()
        request_id = service.upload(catalog_of(urls))
        _wait_until_done(service, request_id, awaited)
        return Run(len(awaited), time.perf_counter() - began)


def _wait_until_done(service: Service, request_id: str, awaited: Sequence[str]) -> None:
    """First by counts, which cost the service next to nothing; then by the rows themselves."""
    give_up_at = time.monotonic() + LONGEST_JOB_SECONDS
    while time.monotonic() < give_up_at:
        progress = service.get(f"/status/{request_id}?images=none").json()["progress"]
        if progress["failed"]:
            raise NotMeasured(f"{progress['failed']} images failed")
        if progress["completed"] >= len(awaited) and _has_all(service, request_id, awaited):
            return
        time.sleep(POLL_SECONDS)
    raise NotMeasured(f"not done after {LONGEST_JOB_SECONDS} s")


def _has_all(service: Service, request_id: str, awaited: Sequence[str]) -> bool:
    output = service.get(f"/download/{request_id}?partial=true").text
    rows = csv.DictReader(io.StringIO(output))
    done = {one["Input Image Urls"] for one in rows if one["Status"] == "completed"}
    return done.issuperset(awaited)


def _interleaved(many: Sequence[str], few: Sequence[str]) -> list[str]:
    """Each of the few after as many of the others."""
    step = -(-len(many) // len(few))
    return [
        url
        for number, one in enumerate(few)
        for url in (*many[number * step : (number + 1) * step], one)
    ]


def _median(details: Sequence[dict[str, float]], name: str) -> str:
    return f"{statistics.median(one[name] for one in details):.1f}"
