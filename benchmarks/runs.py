"""One party's way through some images, and what several of them come to."""

import statistics
import sys
from dataclasses import dataclass, field
from typing import Any


class NotMeasured(Exception):
    """Its text stands in the table in place of a figure."""


@dataclass(frozen=True)
class Run:
    """`details` are kept for the JSON."""

    images: int
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    def __str__(self) -> str:
        details = "".join(f", {name} {value}" for name, value in self.details.items())
        return f"{self.images} in {self.seconds:.2f} s, {self.rate:.1f}/s{details}"


@dataclass
class Rates:
    """A party's runs, or the reason why there are none."""

    runs: list[Run] = field(default_factory=list)
    reason: str = ""

    @property
    def median(self) -> float:
        """Images a second. Raises NotMeasured."""
        return statistics.median(run.rate for run in self._checked())

    def median_of(self, detail: str) -> float:
        """Of one of the details. Raises NotMeasured."""
        return statistics.median(run.details[detail] for run in self._checked())

    def as_json(self) -> dict[str, Any]:
        if self.reason:
            return {"not_measured": self.reason}
        return {
            "images_per_second": round(self.median, 1),
            "images": self.runs[0].images,
            "runs": [{"seconds": round(run.seconds, 3), **run.details} for run in self.runs],
        }

    def _checked(self) -> list[Run]:
        if self.reason or not self.runs:
            raise NotMeasured(self.reason or "it was not run")
        return self.runs


def tell(text: str) -> None:
    """Progress, apart from the table."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
