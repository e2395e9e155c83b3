"""Records → an Excel workbook (.xlsx) in which every cell is text. Called by `exports`.

Text, so that no EAN loses its zeros, no cell is a formula, and no URL counts against the 65,530
hyperlinks that a sheet may have. A row at a time goes to the disk: memory stays flat.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import BinaryIO

from xlsxwriter import Workbook
from xlsxwriter.exceptions import XlsxWriterException
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from app.errors import BadRequest, StorageUnavailable
from app.scratch import disk_errors, scratch_file, scratch_folder

# What a sheet can hold (Excel's specifications and limits); characters are UTF-16 code units.
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CELL_CHARACTERS = 32_767

_TAKE_THE_CSV = "take the CSV, without format=xlsx"


def write_workbook(above: Sequence[Sequence[str]], records: Iterable[Sequence[str]]) -> BinaryIO:
    """Return the workbook, to be closed by the caller.

    `above` are rows above the header, which is the first of `records`. Raises BadRequest for what
    no sheet can hold, naming the row, and StorageUnavailable for a full disk.
    """
    file = scratch_file()
    try:
        with scratch_folder() as folder, disk_errors():
            options = {"constant_memory": True, "tmpdir": str(folder), "use_zip64": True}
            _fill(Workbook(file, options), above, records)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _fill(
    workbook: Workbook, above: Sequence[Sequence[str]], records: Iterable[Sequence[str]]
) -> None:
    try:
        sheet = workbook.add_worksheet()
        sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{MAX_ROWS}"})
        plain = workbook.add_format()
        for line, cells in enumerate(above):
            _write_row(sheet, line, cells, plain)
        header: Sequence[str] = ()
        for number, cells in enumerate(records):
            header = header or cells
            _check_row(number, len(above), cells, header)
            _write_row(sheet, len(above) + number, cells, plain)
    except BaseException:
        with suppress(Exception):  # what matters is told already; it closes its files
            workbook.close()
        raise
    try:
        workbook.close()
    except XlsxWriterException as error:
        raise StorageUnavailable(f"the disk refuses the workbook: {error}") from error


def _write_row(sheet: Worksheet, line: int, cells: Sequence[str], plain: Format) -> None:
    for column, cell in enumerate(cells):
        if cell.startswith("<r>") and cell.endswith("</r>"):
            # the library takes such a text for XML of its own, and writes it unescaped
            sheet.write_rich_string(line, column, cell[:1], plain, cell[1:])
        elif cell:
            sheet.write_string(line, column, cell)


def _check_row(number: int, above: int, cells: Sequence[str], header: Sequence[str]) -> None:
    if above + number >= MAX_ROWS:
        raise BadRequest(
            f"a sheet of Excel ends before row {number} of the output: it holds {MAX_ROWS:,}; "
            f"{_TAKE_THE_CSV}"
        )
    if len(cells) > MAX_COLUMNS:
        raise BadRequest(
            f"the output has {len(cells):,} columns, a sheet of Excel {MAX_COLUMNS:,}; "
            f"{_TAKE_THE_CSV}"
        )
    for index, cell in enumerate(cells):
        # an astral character counts twice
        if len(cell) * 2 > MAX_CELL_CHARACTERS:
            characters = len(cell.encode("utf-16-le")) // 2
            if characters > MAX_CELL_CHARACTERS:
                name = header[index] if index < len(header) else f"number {index + 1}"
                raise BadRequest(
                    f"row {number}, column {name!r}: the cell has {characters:,} characters, one "
                    f"of Excel {MAX_CELL_CHARACTERS:,}; {_TAKE_THE_CSV}"
                )
