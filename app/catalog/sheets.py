"""An uploaded Excel workbook → its first sheet as CSV. Called by intake, before anything is stored.

The work is done by `sheet_reader`, in a process that nobody misses when a workbook kills it.
"""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import structlog

from app.errors import BadCatalog, StorageUnavailable, Unavailable
from app.scratch import disk_errors, scratch_file

REFUSED, DISK = 10, 11
"""Exit codes of the reader: standard error says why, and the disk refused."""
MEMORY_BYTES = 1 << 30
"""Of one reader."""
AT_ONCE = 2
PATIENCE_SECONDS = 5
READING_SECONDS = 300

_COMMAND = (sys.executable, "-m", "app.catalog.sheet_reader")
_PROJECT_DIR = Path(__file__).resolve().parents[2]
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_COMPOUND_FILE = bytes.fromhex("d0cf11e0a1b11ae1")

log = structlog.get_logger(__name__)


def is_workbook(file: BinaryIO) -> bool:
    """Whether an upload is to be read as a workbook, told from its bytes.

    Raises BadCatalog for the kinds of Excel files that are not read.
    """
    file.seek(0)
    start = file.read(len(_COMPOUND_FILE))
    if start == _COMPOUND_FILE:
        raise BadCatalog(
            "the file is an old Excel workbook (.xls), or one that a password protects: save it "
            "as .xlsx without a password, or as CSV UTF-8"
        )
    return start.startswith(_ZIP)


class SheetReader:
    """Reads workbooks, a few at once, since each may take a lot of memory for a while."""

    def __init__(self, at_once: int = AT_ONCE):
        self._turns = threading.Semaphore(at_once)

    @contextmanager
    def as_csv(self, workbook: BinaryIO) -> Iterator[BinaryIO]:
        """The first sheet as a file for `open_catalog(…, is_sheet=True)`, gone afterwards.

        Raises BadCatalog, Unavailable when too many are being read, StorageUnavailable.
        """
        with scratch_file() as sheet:
            with self._turn():
                _convert(workbook, sheet)
            yield sheet

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=PATIENCE_SECONDS):
            raise Unavailable("too many workbooks are being read; try again shortly")
        try:
            yield
        finally:
            self._turns.release()


def _convert(workbook: BinaryIO, sheet: BinaryIO) -> None:
    with scratch_file() as copy:  # an upload may lie in memory, and have no descriptor
        with disk_errors():
            workbook.seek(0)
            shutil.copyfileobj(workbook, copy)
            copy.seek(0)
        code, reason = _run_reader(copy, sheet)
    if code == REFUSED:
        raise BadCatalog(reason)
    if code == DISK:
        raise StorageUnavailable("the disk cannot take the sheet of a workbook")
    if code != 0:
        log.warning("workbook not read", exit_code=code, reason=reason[-1_000:])
        raise BadCatalog(
            f"the workbook could not be read within {MEMORY_BYTES >> 20:,} MiB of memory: it "
            "holds too much text, or cells far outside of the table; delete those, or save its "
            "first sheet as CSV UTF-8"
        )
    sheet.seek(0)


def _run_reader(workbook: BinaryIO, sheet: BinaryIO) -> tuple[int, str]:
    """The reader's exit code, and what it said."""
    try:
        ended = subprocess.run(  # noqa: S603 (no part of it comes from a caller)
            _COMMAND,
            stdin=workbook,
            stdout=sheet,
            stderr=subprocess.PIPE,
            cwd=_PROJECT_DIR,
            timeout=READING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, "it took too long"
    except OSError as error:
        raise Unavailable(f"no process can be started: {error.strerror}") from error
    return ended.returncode, ended.stderr.decode(errors="replace")
