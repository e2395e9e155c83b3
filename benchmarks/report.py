"""Rows of the table: what was measured, what it should be, and whether it is."""

import json
import operator
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runs import NotMeasured


@dataclass(frozen=True)
class Row:
    """`figure` in `unit`; None with the reason in `note` when it could not be measured.

    `at_least` or `at_most` is the target, or `works` says whether what was done came out right;
    without one of them it is reported only.
    """

    measure: str
    figure: float | None
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    works: bool | None = None
    note: str = ""

    @property
    def target(self) -> str:
        for sign, bound in (("≥", self.at_least), ("≤", self.at_most)):
            if bound is not None:
                return f"{sign} {bound:g}{self.unit}"
        return ""

    @property
    def holds(self) -> bool | None:
        """None where there is no target or no figure."""
        if self.works is not None:
            return self.works
        for bound, fits in ((self.at_least, operator.ge), (self.at_most, operator.le)):
            if bound is not None and self.figure is not None:
                return bool(fits(self.figure, bound))
        return None

    @property
    def verdict(self) -> str:
        if self.figure is None:
            return "not measured"
        if self.works is not None:
            return "works" if self.works else "fails"
        if self.holds is None:
            return "reported"
        if self.holds:
            return "holds"
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        by = abs(self.figure - bound)
        share = f" ({by / abs(bound):.0%})" if bound else ""
        return f"misses by {_shown(by)}{self.unit}{share}"

    @property
    def shown(self) -> str:
        return "–" if self.figure is None else f"{_shown(self.figure)}{self.unit}"

    def as_json(self) -> dict[str, Any]:
        return {
            "measure": self.measure,
            "figure": self.figure and round(self.figure, 4),
            "unit": self.unit.strip(),
            "target": self.target,
            "holds": self.holds,
            "verdict": self.verdict,
            "note": self.note,
        }


def row(measure: str, figure: Callable[[], float], **rest: Any) -> Row:
    """A row whose figure may turn out not to have been measured."""
    try:
        return Row(measure, figure(), **rest)
    except NotMeasured as error:
        return Row(measure, None, **rest | {"note": str(error)})


def table(rows: Sequence[Row]) -> str:
    """As text, a note below its row."""
    cells = [("measure", "figure", "target", "")]
    cells += [(row.measure, row.shown, row.target, row.verdict) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = []
    for number, (measure, figure, target, verdict) in enumerate(cells):
        line = f"{measure:<{widths[0]}}  {figure:>{widths[1]}}  {target:>{widths[2]}}  {verdict}"
        lines.append(line.rstrip())
        if number and rows[number - 1].note:
            lines += textwrap.wrap(
                rows[number - 1].note, 96, initial_indent="    ", subsequent_indent="    "
            )
    return "\n".join(lines) + "\n"


def write_json(path: Path, rows: Sequence[Row], about: dict[str, Any], raw: dict[str, Any]) -> None:
    content = {"about": about, "table": [row.as_json() for row in rows], "runs": raw}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _shown(figure: float) -> str:
    """Three digits that say something."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
