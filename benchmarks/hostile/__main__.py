"""python -m benchmarks.hostile [MEASURE …]: all measures, or those named; about five minutes.

Writes docs/hostile.json and its table into docs/security.md; exits 1 when a figure is over its
bound.
"""

import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.hostile import clients, hosts, images, uploads
from benchmarks.hostile.figures import Figure, with_table

DOCS = Path(__file__).resolve().parents[2] / "docs"
MEASURES = {
    "drips": hosts.drips,
    "lies": hosts.lies,
    "images": images.eight_at_once,
    "uploads": uploads.memory,
    "clients": clients.health,
}


def main() -> int:
    figures = []
    for name in sys.argv[1:] or MEASURES:
        with tempfile.TemporaryDirectory() as folder:
            for figure in MEASURES[name](Path(folder)):
                sys.stdout.write(f"{figure.line()}\n")
                sys.stdout.flush()
                figures.append(figure)
    keep(figures)
    return 0 if all(figure.holds for figure in figures) else 1


def keep(figures: list[Figure]) -> None:
    """In the place of what was measured before; the rest stays."""
    path = DOCS / "hostile.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    today = datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    for figure in figures:
        kept[figure.what] = figure.as_json() | {"date": today, "machine": machine}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    page = DOCS / "security.md"
    page.write_text(with_table(page.read_text(), kept))


if __name__ == "__main__":
    sys.exit(main())
