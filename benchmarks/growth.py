"""Whether a row of a large catalogue costs more than one of a small catalogue.

With a stub in place of fetching and coding, so that their time does not hide what grows.
"""

import statistics
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.report import Row
from benchmarks.runs import tell
from benchmarks.service import Service, running

REPEATED_BELOW_ROWS = 10_000
REPEATS = 5
STUBBED = ("-m", "benchmarks.stubbed")


def growth(bench: Bench) -> list[Row]:
    return _growth(bench, bench.scale.growth_rows)


def large_growth(bench: Bench) -> list[Row]:
    return _growth(bench, bench.scale.large_growth_rows)


def _growth(bench: Bench, sizes: Sequence[int]) -> list[Row]:
    with (
        bench.fresh_folder() as folder,
        running(folder, bench.inbox, command=STUBBED) as service,
    ):
        service.run(_urls(100))
        empty_seconds = _seconds(service, 1)
        costs_ms = {rows: (_seconds(service, rows) - empty_seconds) / rows * 1000 for rows in sizes}
    few, many = min(sizes), max(sizes)
    shown = {f"{rows:,} rows": round(cost, 4) for rows, cost in costs_ms.items()}
    bench.raw[f"growth to {many:,} rows"] = {"one_row_seconds": empty_seconds, "ms_a_row": shown}
    tell(f"growth: {shown} ms a row, one row {empty_seconds:.3f} s")
    return [
        Row(
            f"cost a row, {few:,} rows against {many:,}: change",
            abs(costs_ms[many] / costs_ms[few] - 1) * 100,
            unit=" %",
            at_most=20,
            note=f"{costs_ms[few]:.3f} ms and {costs_ms[many]:.3f} ms a row of one image, without "
            f"fetching and coding; the {empty_seconds:.2f} s of a request of one row subtracted",
        )
    ]


def _seconds(service: Service, rows: int) -> float:
    """Of a whole job; of a short one the median of several."""
    repeats = REPEATS if rows < REPEATED_BELOW_ROWS else 1
    return statistics.median(service.run(_urls(rows)).seconds for _ in range(repeats))


def _urls(rows: int) -> list[str]:
    return [f"http://127.0.0.1:9/images/{number}.jpg" for number in range(rows)]
