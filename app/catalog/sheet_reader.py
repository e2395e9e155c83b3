"""The first sheet of an Excel workbook → CSV, in a process of its own that may die of it.

Started by `sheets` as `python -m app.catalog.sheet_reader`: the workbook is its standard input, the
CSV (UTF-8 with a mark, commas, CRLF; one record for every row of the sheet) its standard output. It
ends with REFUSED and the reason on standard error, with DISK when it could not write, and in any
other way when the workbook was too much for it.

calamine reads a sheet whole, and makes room for every cell between its corners: five kilobytes with
a text in A1 and another in XFD1048576 ask for 550 gigabytes, and end the process that reads them.
Sizes are looked at before; what they do not tell, the limit of the process's memory does.
"""

import csv
import errno
import io
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from copy import copy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from app.catalog.sheets import DISK, MEMORY_BYTES, REFUSED
from app.errors import BadCatalog

if sys.platform != "win32":
    import resource

MAX_UNPACKED_BYTES = 256 << 20
"""About 3.5 million cells, for which calamine takes some 550 MB (4 million measured)."""
MAX_ENTRIES = 10_000
MAX_CSV_BYTES = 1 << 30
"""A text that cells share stands once in a workbook, and in every cell of a CSV."""
CPU_SECONDS = 120

# OSError: an offset that lies before the file
_UNPACKING_ERRORS = (
    BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    ValueError,
    struct.error,
    zlib.error,
)
_CHUNK_BYTES = 1 << 20
_WRITTEN_OUT = 10**22  # the whole numbers below; 1e300 is not

Cell = int | float | str | bool | time | date | datetime | timedelta


def main() -> int:
    """The exit code."""
    _limit_this_process()
    try:
        # not sys.stdout.buffer: with PYTHONUNBUFFERED that loses what a full disk does not take
        with open(0, "rb", closefd=False) as book, open(1, "wb", closefd=False) as sheet:
            write_first_sheet(book, sheet)
    except BadCatalog as error:
        sys.stderr.write(str(error))
        return REFUSED
    except OSError as error:
        if error.errno != errno.EFBIG:
            return DISK
        sys.stderr.write(str(_too_large("holds too much text")))
        return REFUSED
    return 0


def _limit_this_process() -> None:
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_CSV_BYTES, MAX_CSV_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def write_first_sheet(workbook: BinaryIO, target: BinaryIO) -> None:
    """Raises BadCatalog for what is no workbook, is too large, or has no sheet to see."""
    check_sizes(workbook)
    workbook.seek(0)
    sheet = _first_sheet(workbook)
    width = max(map(_used_width, sheet.iter_rows()), default=0)
    text = io.TextIOWrapper(target, "utf-8-sig", newline="")
    writer = csv.writer(text)
    for cells in sheet.iter_rows():
        writer.writerow(map(cell_text, cells[:width]))
    text.flush()
    text.detach()


def _used_width(cells: Sequence[Cell]) -> int:
    """Without the empty cells at the end; formulas leave columns of them."""
    return next((index for index in range(len(cells), 0, -1) if cells[index - 1] != ""), 0)


def check_sizes(workbook: BinaryIO) -> None:
    """Unpacks it to see. Raises BadCatalog unless it is a workbook, and not too large."""
    try:
        with ZipFile(workbook) as archive:
            entries = archive.infolist()
            _refuse_other_files({entry.filename for entry in entries})
            if len(entries) > MAX_ENTRIES:
                raise _too_large(f"holds more than {MAX_ENTRIES:,} files")
            _refuse_large(entry.file_size for entry in entries)
            _refuse_large(_unpacked_bytes(archive, entry) for entry in entries)
    except _UNPACKING_ERRORS as error:
        raise _damaged() from error


def _refuse_other_files(names: set[str]) -> None:
    if "xl/workbook.xml" in names:
        return
    if "xl/workbook.bin" in names:
        raise BadCatalog("the file is a binary workbook (.xlsb): save it as .xlsx, or as CSV UTF-8")
    raise BadCatalog(
        "the file is a ZIP archive, but no Excel workbook (.xlsx): upload the CSV or .xlsx file "
        "itself"
    )


def _refuse_large(sizes: Iterable[int]) -> None:
    total = 0
    for size in sizes:
        total += size
        if total > MAX_UNPACKED_BYTES:
            raise _too_large(f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB")


def _unpacked_bytes(archive: ZipFile, entry: ZipInfo) -> int:
    """What really comes out of an entry, whatever its header says; no further than the limit."""
    if entry.flag_bits & 1 or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise _damaged()
    unbelieved = copy(entry)
    unbelieved.file_size = 1 << 62  # where zipfile would stop reading
    size = 0
    with archive.open(unbelieved) as file:
        while size <= MAX_UNPACKED_BYTES and (chunk := file.read(_CHUNK_BYTES)):
            size += len(chunk)
    return size


def _too_large(reason: str) -> BadCatalog:
    return BadCatalog(
        f"the workbook {reason}: save its first sheet as CSV UTF-8, which may be longer"
    )


def _damaged() -> BadCatalog:
    return BadCatalog("the workbook is damaged: open it in Excel and save it anew, or as CSV UTF-8")


def _first_sheet(workbook: BinaryIO) -> CalamineSheet:
    """The first that people see; add-ins keep hidden ones."""
    try:
        book = CalamineWorkbook.from_filelike(workbook)
        for sheet in book.sheets_metadata:
            is_visible = sheet.visible == SheetVisibleEnum.Visible
            if is_visible and sheet.typ == SheetTypeEnum.WorkSheet:
                return book.get_sheet_by_name(sheet.name)
    except CalamineError as error:
        raise _damaged() from error
    raise BadCatalog("the workbook has no sheet that can be seen: put the table into the first")


def cell_text(cell: Cell) -> str:
    """As people write it: no `.0` on whole numbers, dates as ISO 8601 has them, TRUE and FALSE."""
    match cell:
        case str():
            return cell
        case bool():
            return str(cell).upper()
        case float() if cell.is_integer() and abs(cell) < _WRITTEN_OUT:
            return f"{Decimal(repr(cell + 0.0)):.0f}"  # + 0.0, since there is a -0.0
        case float():
            return f"{cell:.15g}"  # Excel shows so many digits, and keeps 19.989999999999998
        case timedelta():
            return _duration(cell)
        case date() | time():
            return cell.isoformat()
    return str(cell)


def _duration(duration: timedelta) -> str:
    minutes, seconds = divmod(round(abs(duration).total_seconds()), 60)
    sign = "-" if duration < timedelta(0) else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}"


if __name__ == "__main__":
    sys.exit(main())
