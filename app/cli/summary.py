"""What a job came to, as a table for people or one JSON document for scripts, on stdout.

Called by both commands, with what the output CSV says (`tally`) and how the images were counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from app.cli.endings import ExitCode, documents_of, show_faults, show_json
from app.cli.tally import Tally
from app.intake import Report


@dataclass(frozen=True, slots=True)
class Summary:
    """`files` are the paths of what was written, by their names in JSON."""

    status: str
    tally: Tally
    images: int
    completed: int
    failed: int
    cancelled: int
    bytes_in: int
    bytes_out: int
    seconds: float
    images_per_second: float
    files: Mapping[str, str]
    request_id: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        if self.status != "completed":
            return ExitCode.UNFINISHED
        is_whole = not (self.failed or self.tally.faulty_rows)
        return ExitCode.DONE if is_whole else ExitCode.SOME_FAILED

    @property
    def percent_saved(self) -> float | None:
        """One decimal; None where nothing was made."""
        return round(100 * (1 - self.bytes_out / self.bytes_in), 1) if self.bytes_in else None

    def show(self, *, as_json: bool) -> None:
        if as_json:
            show_json(self._document())
            return
        _show_table(list(self._lines()))
        for place in self.files.values():
            click.echo(place)

    def _document(self) -> dict[str, Any]:
        return {
            "status": self.status,
            **({"request_id": self.request_id} if self.request_id else {}),
            "rows": self.tally.rows,
            "faulty_rows": self.tally.faulty_rows,
            "images": self.images,
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "failures": self.tally.failures,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "percent_saved": self.percent_saved,
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.images_per_second, 1),
            **self.files,
        }

    def _lines(self) -> Iterator[tuple[str, str]]:
        if self.status != "completed":
            yield "status", self.status
        yield "rows", f"{self.tally.rows:,}"
        if self.tally.faulty_rows:
            yield "  left out for faults", f"{self.tally.faulty_rows:,}"
        yield "images", f"{self.images:,}"
        yield "done", f"{self.completed:,}"
        yield "failed", f"{self.failed:,}"
        for code, count in self.tally.failures.items():
            yield f"  {code}", f"{count:,}"
        if self.cancelled:
            yield "cancelled", f"{self.cancelled:,}"
        yield "bytes before", f"{self.bytes_in:,}"
        yield "bytes after", f"{self.bytes_out:,}"
        if self.percent_saved is not None:
            yield "saved", f"{self.percent_saved} %"
        yield "seconds", f"{self.seconds:.1f}"
        yield "images/s", f"{self.images_per_second:.1f}"


def _show_table(lines: Sequence[tuple[str, str]]) -> None:
    name_width, value_width = (max(map(len, column)) for column in zip(*lines, strict=True))
    for name, value in lines:
        click.echo(f"{name:<{name_width}}  {value:>{value_width}}")


def report_of(report: Report) -> dict[str, Any]:
    """What a dry run found, as the API says it."""
    return {
        "dry_run": True,
        "rows": report.rows,
        "images": report.images,
        "columns": report.columns,
        "faults": report.fault_count,
        "details": documents_of(report.faults),
    }


def show_report(report: Mapping[str, Any], *, as_json: bool) -> ExitCode:
    """The same with the faults on stderr; what a run without `dry_run` would end with at best."""
    if as_json:
        show_json(report)
    else:
        _show_table([(name, f"{report[name]:,}") for name in ("rows", "images", "faults")])
        for meaning, headers in report["columns"].items():
            click.echo(f"{meaning}: {', '.join(headers)}")
        show_faults(report["details"], report["faults"])
    return ExitCode.SOME_FAILED if report["faults"] else ExitCode.DONE
