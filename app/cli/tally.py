"""An output CSV read back: its rows, those left out for faults, and the failures by code.

The only place where a service tells all three, and `flask process` writes the same. Called by both
commands when the job has ended.
"""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.catalog import Columns, open_catalog
from app.models import ErrorCode, RowStatus

_SLOT_ERROR = re.compile(r"(?:^|; )[0-9]+: ([a-z0-9_]+)")
"""`2: http_404 Not Found; 3: timeout after 60 s`: no message has a semicolon."""


@dataclass(frozen=True, slots=True)
class Tally:
    """`failures` counts images by error code, the most frequent first."""

    rows: int
    faulty_rows: int
    failures: dict[str, int]


def read_tally(path: Path, image_columns: Sequence[str], base_url: str | None) -> Tally:
    """With the options of the upload, so that the same header is found."""
    rows = faulty_rows = 0
    failures: Counter[str] = Counter()
    with (
        path.open("rb") as file,
        open_catalog(
            file, image_columns=image_columns, base_url=base_url, max_rows=sys.maxsize
        ) as catalog,
    ):
        status, error = _our_places(catalog.columns, len(catalog.header))
        for row in catalog.rows():
            rows += 1
            if row.cells[status] == RowStatus.INVALID:
                faulty_rows += 1
            else:
                failures.update(_SLOT_ERROR.findall(row.cells[error]))
    del failures[ErrorCode.CANCELLED]
    return Tally(rows, faulty_rows, dict(failures.most_common()))


def _our_places(columns: Columns, width: int) -> tuple[int, int]:
    """Where Status and Error stand: at the end, unless an earlier output was the input."""
    if columns.status and columns.error:
        return columns.status.index, columns.error.index
    return width - 2, width - 1
