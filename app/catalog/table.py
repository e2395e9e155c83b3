"""Text of a CSV file → a table of cells with line numbers. Called by `reading.open_catalog`.

What comes out (`Table`) says nothing of URLs or products.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TextIO

from app.catalog.columns import HEADER_LINES, find_header, no_image_column
from app.errors import BadCatalog

# What bounds the memory that one record takes, be it one line or the rest of the file after a
# quote that is never closed.
MAX_RECORD_CHARACTERS = 8 << 20

# State of the whole process: the module `csv` knows no other. Its default, 131,072 characters,
# would refuse a file where one row is at fault; the bound that protects us is the one above, so
# this one only has to lie no lower.
csv.field_size_limit(MAX_RECORD_CHARACTERS)

_SAMPLE_CHARACTERS = 1 << 18  # within which the header must end
_DELIMITERS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(r'"?sep=([^\w\s"]|\t)\1*"?', re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file was written. `sep_line` is its `sep=` line with the line end, or empty."""

    encoding: str
    delimiter: str = ","
    line_end: str = "\r\n"
    sep_line: str = ""

    @property
    def bom(self) -> bool:
        """Whether the output, always UTF-8, begins with a byte-order mark."""
        return self.encoding != "utf-8"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the file's head: its lines from 1, its text with line end, its cells."""

    first_line: int
    last_line: int
    raw: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A header, the records above it, and below it an iterator to be read once.

    A record is (line from 1, size, cells); no cell of it has more characters than its size. It
    has as many cells as the file says; blank lines are left out. Reading on may raise `BadCatalog`.
    """

    dialect: Dialect
    preamble: tuple[Record, ...]
    header: Record
    records: Iterator[tuple[int, int, list[str]]]


def read_table(text: TextIO, encoding: str, image_columns: Sequence[str]) -> Table:
    """Find delimiter and header of `text`, which keeps line ends as they are (`newline=""`).

    The delimiter is that of a `sep=` line, else the one that shows a header of the most cells.
    Raises `BadCatalog` for an empty file, one without an image column, and an open quote.
    """
    sample = text.read(_SAMPLE_CHARACTERS)
    if not sample.strip():
        raise BadCatalog("the file is empty: upload a CSV file with a header and rows")
    lines = list(io.StringIO(sample, newline=""))
    sep = _SEP_LINE.fullmatch(lines[0].rstrip("\r\n"))
    first = 1 if sep else 0
    heads = {d: _head(lines, first, d) for d in ((sep[1],) if sep else _DELIMITERS)}
    delimiter = max(heads, key=lambda d: _rank(heads[d], image_columns))
    head = heads[delimiter]
    index = find_header([record.cells for record in head], image_columns)
    if index is None:
        _refuse_open_quote(text, delimiter)
        raise no_image_column(_likely_header(head), image_columns)
    header = head[index]
    dialect = Dialect(encoding, delimiter, _line_end(header.raw), lines[0] if sep else "")
    return Table(dialect, tuple(head[:index]), header, _records(text, delimiter, header.last_line))


def read_sheet(text: TextIO, encoding: str, image_columns: Sequence[str]) -> Table:
    """The same for a sheet of a workbook that was made CSV: commas, and nothing to guess.

    Its lines are the rows of the sheet, however many lines of text their cells have.
    """
    head = _head(list(io.StringIO(text.read(_SAMPLE_CHARACTERS), newline="")), 0, ",")
    if not any("".join(record.cells).strip() for record in head):
        raise BadCatalog("the first sheet is empty: its first lines hold a header and rows")
    index = find_header([record.cells for record in head], image_columns)
    if index is None:
        raise no_image_column(next(filter(any, (r.cells for r in head))), image_columns)
    header = replace(head[index], first_line=index + 1)
    rows = _sheet_rows(text, header.last_line, index + 2)
    return Table(Dialect(encoding), tuple(head[:index]), header, rows)


def _sheet_rows(text: TextIO, last_line: int, number: int) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the rows below `last_line`, of which the first has that number."""
    text.seek(0)
    for _ in range(last_line):
        text.readline()
    for line, cells in enumerate(csv.reader(text), start=number):
        size = sum(map(len, cells))
        if size > MAX_RECORD_CHARACTERS:
            raise BadCatalog(
                f"line {line} of the sheet has more than {MAX_RECORD_CHARACTERS:,} characters: "
                "shorten it"
            )
        yield line, size, cells


def _head(lines: Sequence[str], first: int, delimiter: str) -> list[Record]:
    reader = csv.reader(lines[first:], delimiter=delimiter)
    records = []
    start = first
    for cells in islice(reader, HEADER_LINES):
        end = first + reader.line_num
        records.append(Record(start + 1, end, "".join(lines[start:end]), tuple(cells)))
        start = end
    return records


def _rank(head: Sequence[Record], image_columns: Sequence[str]) -> tuple[bool, int]:
    index = find_header([record.cells for record in head], image_columns)
    if index is None:
        return False, len(_likely_header(head))
    return True, len(head[index].cells)


def _likely_header(head: Sequence[Record]) -> Sequence[str]:
    """The first record with anything in it: its cells say more than those of a row with commas."""
    return next((record.cells for record in head if any(record.cells)), ())


def _line_end(raw: str) -> str:
    return _LINE_END.findall(raw)[-1] if raw.endswith(("\r", "\n")) else "\n"


def _refuse_open_quote(text: TextIO, delimiter: str) -> None:
    """Raise for a quote that opens above the header and hides it."""
    for _ in islice(_records(text, delimiter, 0), HEADER_LINES):
        pass


class _Lines:
    """The lines of a text, counted, and no more of them than one record may have.

    `record_end` is set by who reads records: the line that ended the last one. When the text ends
    elsewhere, the record at its end is `unclosed`: only a quote makes a reader ask for more.
    """

    def __init__(self, text: TextIO, last_line: int) -> None:
        self.given = self.record_end = last_line
        self.size = 0
        self.unclosed = False
        self._readline = text.readline

    def __iter__(self) -> Iterator[str]:
        while line := self._readline(MAX_RECORD_CHARACTERS + 1):
            if self.given == self.record_end:
                self.size = len(line)
            else:
                self.size += len(line)
            if self.size > MAX_RECORD_CHARACTERS:
                break
            self.given += 1
            yield line
        if line and self.given == self.record_end:
            raise BadCatalog(
                f"line {self.given + 1} is longer than {MAX_RECORD_CHARACTERS:,} characters: "
                "check that the file is a CSV file with line breaks"
            )
        self.unclosed = self.given > self.record_end


def _records(text: TextIO, delimiter: str, last_line: int) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the records below `last_line`."""
    text.seek(0)
    for _ in range(last_line):
        text.readline()
    lines = _Lines(text, last_line)
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            if lines.unclosed:
                raise _open_quote(lines, cells[-1])
            if cells:
                yield lines.record_end + 1, lines.size, cells
            lines.record_end = lines.given
    except csv.Error as error:
        raise BadCatalog(f"line {lines.given}: the file is not well-formed CSV: {error}") from error


def _open_quote(lines: _Lines, cell: str) -> BadCatalog:
    """Tell the line of the quote from how many lines its cell took."""
    taken = len(_LINE_END.findall(cell)) + (not cell.endswith(("\r", "\n")))
    return BadCatalog(
        f'line {lines.given - taken + 1}: a quote (") opens here and never closes (or after more '
        f"than {MAX_RECORD_CHARACTERS:,} characters): close it, or double the quotes that belong "
        "to the text"
    )
