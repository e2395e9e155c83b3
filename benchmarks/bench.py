"""What every measure is given: how much to measure, the pictures, the origin, the parties' tools.

A measure is a function from a `Bench` to rows of the table (`report.Row`); it runs its parties in
turns, and raises `NotMeasured` with the reason where it cannot.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.img2dataset import Img2dataset
from benchmarks.origin import Origin
from benchmarks.runs import NotMeasured, Rates, Run, tell
from benchmarks.service import Inbox

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Scale:
    """How much of everything; images and rows are counts.

    A service counts as idle when its memory has not changed for `settling_seconds`, and as busy so
    long after an upload.
    """

    rounds: int = 3
    settling_seconds: float = 1.0
    photographs: int = 600
    longest_side: int = 2000
    slow_serial_photographs: int = 100
    thumbnails: int = 5_000
    trial_photographs: int = 150
    trial_thumbnails: int = 1_500
    memory_thumbnails: int = 20_000
    status_photographs: int = 2_400
    large_beside: int = 100_000
    small_requests: int = 60
    accepted_rows: int = 1_000_000
    growth_rows: tuple[int, ...] = (1_000, 100_000)
    large_growth_rows: tuple[int, ...] = (1_000, 1_000_000)
    large_thumbnails: int = 200_000
    delta_photographs: int = 2_000
    fast_beside_slow: int = 5_000
    slow_images: int = 500
    late_seconds: float = 5.0
    heavy_images: int = 60
    heavy_bytes: int = 15_000_000
    with_img2dataset: bool = True


QUICK = Scale(
    rounds=1,
    settling_seconds=0.05,
    photographs=8,
    longest_side=900,
    slow_serial_photographs=2,
    thumbnails=40,
    memory_thumbnails=120,
    status_photographs=24,
    large_beside=4_000,
    small_requests=3,
    accepted_rows=300,
    growth_rows=(10, 200),
    large_growth_rows=(10, 400),
    large_thumbnails=400,
    delta_photographs=12,
    fast_beside_slow=60,
    slow_images=6,
    late_seconds=0.3,
    heavy_images=4,
    heavy_bytes=1_000_000,
    with_img2dataset=False,
)
"""Shows that everything runs; its figures say nothing."""


@dataclass
class Bench:
    """One run of the benchmarks; `raw` gathers every single figure, by measure and party."""

    scale: Scale
    folder: Path
    origin: Origin
    inbox: Inbox
    img2dataset: Img2dataset
    raw: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def photographs(self) -> corpus.Corpus:
        return corpus.photographs(
            self.corpora, self.scale.photographs, longest_side=self.scale.longest_side
        )

    @cached_property
    def thumbnails(self) -> corpus.Corpus:
        return corpus.thumbnails(self.corpora, self.scale.thumbnails)

    @property
    def corpora(self) -> Path:
        """What the origin serves."""
        return self.folder / "corpus"

    @contextmanager
    def fresh_folder(self) -> Iterator[Path]:
        """An empty folder for one run, gone afterwards."""
        runs = self.folder / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=runs))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def in_turns(self, measure: str, parties: dict[str, Callable[[], Run]]) -> dict[str, Rates]:
        """Runs each party once a round; what cannot run has no rates but a reason."""
        rates = {party: Rates() for party in parties}
        for number in range(1, self.scale.rounds + 1):
            for party, run in parties.items():
                if rates[party].reason:
                    continue
                try:
                    done = run()
                except NotMeasured as error:
                    rates[party].reason = str(error)
                    tell(f"{measure}, {party}: not measured: {error}")
                    continue
                rates[party].runs.append(done)
                tell(f"{measure}, {party}, {number}: {done}")
        self.raw[measure] = {party: of.as_json() for party, of in rates.items()}
        return rates
