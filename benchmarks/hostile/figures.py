"""A measured figure with its bound, and the table of them in docs/security.md."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- hostile -->", "<!-- /hostile -->"


@dataclass(frozen=True)
class Figure:
    """`how` says how it was measured, where the words do not; without a bound it is told only."""

    what: str
    value: float
    unit: str
    at_most: float | None
    how: str = ""

    @property
    def holds(self) -> bool:
        return self.at_most is None or self.value <= self.at_most

    def line(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return f"{self.what}: {self.value:g}{self.unit} (bound {self.at_most}): {verdict}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def with_table(text: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """A page with the table between its markers, in the place of what stood there."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = ["| measured | figure | bound | how |", "| --- | ---: | ---: | --- |"]
    for figure in figures.values():
        value, bound = (_shown(figure[name], figure["unit"]) for name in ("value", "at_most"))
        holds = figure["at_most"] is None or figure["value"] <= figure["at_most"]
        shown = value if holds else f"**{value}**"
        lines.append(f"| {figure['what']} | {shown} | {bound} | {figure['how']} |")
    return "\n".join([f"{before}{BEGIN}", *lines, f"{END}{after}"])


def _shown(number: float | None, unit: str) -> str:
    return "" if number is None else f"{number:,g}{unit}"


class Peak:
    """The memory that a process takes beyond what it had when this began; Linux only."""

    def __init__(self, pid: int):
        self._pid = pid
        self._before_kib = self._read("VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): forgets the peak so far

    @property
    def mb(self) -> float:
        return max(0, round((self._read("VmHWM") - self._before_kib) / 1024, 1))

    def _read(self, field: str) -> int:
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
