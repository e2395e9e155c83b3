"""The measured counts of the long trials: `docs/reliability.json`, and its table for people.

`python -m tests.chaos.figures` writes the table anew between the markers of docs/reliability.md.
"""

import fcntl
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
_COLUMNS = ("runs", "kills", "images", "lost", "doubled", "poisoned", "torn", "orphans")


def record(point, docs=DOCS, **counts):
    """Keeps what a trial has measured, in the place of what it measured before."""
    with (docs / "reliability.json").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # pytest-xdist runs trials side by side
        file.seek(0)
        figures = json.loads(file.read() or "{}")
        figures[point] = counts | {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        }
        file.truncate(0)
        file.write(json.dumps(figures, indent=2, sort_keys=True) + "\n")
        _show(figures, docs)


def _show(figures, docs):
    page = docs / "reliability.md"
    if page.exists() and BEGIN in page.read_text():
        page.write_text(with_table(page.read_text(), figures))


def with_table(text, figures):
    """A page with the table between its markers, in the place of what stood there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"docs/reliability.md lacks {BEGIN}"
    assert end, f"docs/reliability.md lacks {END}"
    return f"{before}{BEGIN}\n{table(figures)}\n{END}{after}"


def table(figures):
    """Markdown, a line a trial; what has no column stands under `also`."""
    lines = [
        "| trial | " + " | ".join(_COLUMNS) + " | also | seed | seconds | date |",
        "| --- |" + " ---: |" * len(_COLUMNS) + " --- | ---: | ---: | --- |",
    ]
    for point, counts in sorted(figures.items()):
        own = {*_COLUMNS, "seed", "seconds", "date", "machine"}
        cells = [str(counts.get(name, "")) for name in _COLUMNS]
        also = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in counts.items() if name not in own
        )
        last = [also, *(str(counts.get(name, "")) for name in ("seed", "seconds", "date"))]
        lines.append(f"| {point} | " + " | ".join([*cells, *last]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    page = DOCS / "reliability.md"
    page.write_text(
        with_table(page.read_text(), json.loads((DOCS / "reliability.json").read_text()))
    )
