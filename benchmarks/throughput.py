"""Whole jobs, from the upload to the end, beside the bare codec and the peers."""

from collections.abc import Sequence
from functools import partial

from benchmarks import coding
from benchmarks.bench import Bench
from benchmarks.corpus import Corpus
from benchmarks.report import Row, row
from benchmarks.runs import Rates, Run
from benchmarks.serial import run_serial
from benchmarks.service import running

CODEC = "codec alone, all cores"
SERVICE = "Pressroom"
FITTED = "Pressroom, fitted tables (the default)"
TLS = "Pressroom over TLS"
IMG2DATASET = "img2dataset"
SERIAL = "serial loop"
SLOW_SERVICE = "Pressroom at 100 ms"
SLOW_SERIAL = "serial loop at 100 ms"


def photographs(bench: Bench) -> list[Row]:
    corpus = bench.photographs
    urls, slow = corpus.urls(bench.origin.plain), corpus.urls(bench.origin.slow)
    few_slow = slow[: bench.scale.slow_serial_photographs]
    rates = bench.in_turns(
        "photographs",
        {
            CODEC: partial(coding.run_codec, corpus),
            SERVICE: partial(run_service, bench, urls),
            FITTED: partial(run_service, bench, urls, JPEG_OPTIMIZE="true"),
            IMG2DATASET: partial(
                run_img2dataset, bench, "photographs", urls, bench.scale.trial_photographs
            ),
            SERIAL: partial(run_serial_loop, bench, urls),
            SLOW_SERVICE: partial(run_service, bench, slow),
            SLOW_SERIAL: partial(run_serial_loop, bench, few_slow),
        },
    )
    return [
        *_rates_rows("photographs", rates),
        _ratio("photographs: Pressroom against the codec alone", rates, SERVICE, CODEC, 0.9),
        _ratio("photographs: … with fitted tables", rates, FITTED, CODEC, None),
        _ratio("photographs: … against img2dataset", rates, SERVICE, IMG2DATASET, 1.5),
        _ratio("photographs: … against a serial loop", rates, SERVICE, SERIAL, 2),
        _ratio("photographs: … at 100 ms", rates, SLOW_SERVICE, SLOW_SERIAL, 15),
        _ratio("photographs: 100 ms against none", rates, SLOW_SERVICE, SERVICE, 0.95),
    ]


def thumbnails(bench: Bench) -> list[Row]:
    corpus = bench.thumbnails
    urls, tls = corpus.urls(bench.origin.plain), corpus.urls(bench.origin.tls)
    rates = bench.in_turns(
        "thumbnails",
        {
            CODEC: partial(coding.run_codec, corpus),
            SERVICE: partial(run_service, bench, urls),
            FITTED: partial(run_service, bench, urls, JPEG_OPTIMIZE="true"),
            IMG2DATASET: partial(
                run_img2dataset, bench, "thumbnails", urls, bench.scale.trial_thumbnails
            ),
            TLS: partial(run_service, bench, tls, CA_BUNDLE=bench.origin.authority),
        },
    )
    return [
        *_rates_rows("thumbnails", rates),
        _ratio("thumbnails: Pressroom against the codec alone", rates, SERVICE, CODEC, None),
        _ratio("thumbnails: … against img2dataset", rates, SERVICE, IMG2DATASET, 1.5),
        _ratio("thumbnails: … over TLS, against plain", rates, TLS, SERVICE, None),
        row(
            "thumbnails: CPU an image outside the codec",
            lambda: _cpu_outside_ms(bench, corpus, rates[SERVICE]),
            unit=" ms",
            at_most=0.4,
            note="user and system time of the service's processes over the whole job, less that of "
            "its compress() on the same files in one process",
        ),
    ]


def run_service(bench: Bench, urls: Sequence[str], **settings: object) -> Run:
    """A whole job in a service of its own, on an empty database."""
    settings = {"JPEG_OPTIMIZE": "false", **settings}
    with bench.fresh_folder() as folder, running(folder, bench.inbox, **settings) as service:
        service.warm_up()
        job = service.run(urls)
    return Run(
        len(urls),
        job.seconds,
        {
            "bytes_out": job.progress["bytes_out"],
            "service_cpu_ms": round(job.service_cpu_seconds / len(urls) * 1000, 3),
            "database_cpu_ms": round(job.database_cpu_seconds / len(urls) * 1000, 3),
        },
    )


def run_img2dataset(bench: Bench, name: str, urls: Sequence[str], trial_images: int) -> Run:
    """With its own best counts of processes and threads, found on the first `trial_images`."""
    bench.img2dataset.find_best(name, urls[:trial_images], bench.fresh_folder)
    with bench.fresh_folder() as folder:
        return bench.img2dataset.run(name, urls, folder)


def run_serial_loop(bench: Bench, urls: Sequence[str]) -> Run:
    with bench.fresh_folder() as folder:
        return run_serial(urls, folder)


def _cpu_outside_ms(bench: Bench, corpus: Corpus, rates: Rates) -> float:
    whole = rates.median_of("service_cpu_ms")
    codec = coding.compress_cpu_ms(corpus)
    bench.raw["thumbnails"]["compress_cpu_ms"] = round(codec, 3)
    return whole - codec


def _rates_rows(corpus: str, rates: dict[str, Rates]) -> list[Row]:
    return [
        row(f"{corpus}: {party}", lambda of=of: of.median, unit=" /s", note=_counts(of))
        for party, of in rates.items()
    ]


def _counts(rates: Rates) -> str:
    """What img2dataset was found to be best at."""
    details = rates.runs[0].details if rates.runs else {}
    if "threads" not in details:
        return ""
    return f"{details['processes']} processes of {details['threads']} threads, its best"


def _ratio(
    measure: str, rates: dict[str, Rates], ours: str, theirs: str, at_least: float | None
) -> Row:
    return row(
        measure, lambda: rates[ours].median / rates[theirs].median, unit="×", at_least=at_least
    )
