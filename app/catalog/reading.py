"""A table of cells → `Row`s and faults. Called by intake and, to write an output, by `writing`."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from app.catalog.cells import url_at, url_places
from app.catalog.columns import Columns, find_columns
from app.catalog.encodings import find_encoding
from app.catalog.table import Dialect, Record, Table, read_sheet, read_table
from app.catalog.urls import PLAIN_URLS, BadUrl, RelativeUrl, absolute_url, shown
from app.errors import BadCatalog, BadRequest
from app.models import Fault, FaultCode, ImageUrl, Row

MAX_CELL_CHARACTERS = 131_072
MAX_URLS_A_ROW = 1_000
MAX_FAULTS_KEPT = 1_000
READ_BYTES = 1_048_576

_SHOWN_SURPLUS_CELLS = 3

_FaultyPlace = tuple[str, FaultCode, str]  # header, code, message


@contextmanager
def open_catalog(
    file: BinaryIO,
    *,
    image_columns: Sequence[str] = (),
    base_url: str | None = None,
    max_rows: int = 1_000_000,
    is_sheet: bool = False,
) -> Iterator["Catalog"]:
    """Open an uploaded file and find its columns; `file` is seekable and stays open.

    `image_columns` are headers as written, instead of finding them by name; a header that repeats
    names all its columns. `base_url` completes relative paths. `is_sheet`: the file is what
    `SheetReader` made of a workbook. Raises `BadCatalog` when the file is not text or has no image
    column, `BadRequest` when `base_url` is no URL.
    """
    _check_base_url(base_url)
    encoding = find_encoding(file)
    # Read by 8 KiB, as is usual, other threads would have the interpreter after each.
    buffered = io.BufferedReader(file, READ_BYTES)  # type: ignore[type-var]
    text = io.TextIOWrapper(buffered, encoding, newline="")
    try:
        text.seek(0)
        read = read_sheet if is_sheet else read_table
        table = read(text, text.encoding, image_columns)
        columns = find_columns(table.header.cells, image_columns)
        yield Catalog(table, columns, base_url, max_rows)
    finally:
        text.detach()  # or collecting the wrappers would close the caller's file
        buffered.detach()


def _check_base_url(base_url: str | None) -> None:
    if base_url is None:
        return
    try:
        absolute_url(base_url, None)
    except BadUrl as error:
        raise BadRequest(f"base_url: {error}") from error
    if "?" in base_url or "#" in base_url:
        raise BadRequest(f"base_url: {shown(base_url)} has a ? or #: end it before")


class Catalog:
    """An open file: its header, what its columns mean, and its rows, to be read once.

    `preamble` are the records above the header. `faults` (the first 1,000 of `fault_count`) grow
    while rows are read.
    """

    def __init__(self, table: Table, columns: Columns, base_url: str | None, max_rows: int):
        self.header: tuple[str, ...] = table.header.cells
        self.columns = columns
        self.preamble: tuple[Record, ...] = table.preamble
        self.dialect: Dialect = table.dialect
        self.base_url = base_url
        self.faults: list[Fault] = []
        self.fault_count = 0
        self._table = table
        self._max_rows = max_rows
        self._is_read = False

    def rows(self) -> Iterator[Row]:
        """Yield every row that is not blank, in one pass; memory does not grow with the file.

        `Row.cells` has a cell for every header, and more only in a row with the fault
        `extra_cells`. Raises `BadCatalog` for a quote that never closes and for more than
        `max_rows` rows where they are met, and at the end for a file without rows or without a
        URL in a row that has no fault.
        """
        if self._is_read:
            raise RuntimeError("rows() reads the file once: open the catalog again")
        self._is_read = True
        width = len(self.header)
        images = [(column.index, column.header) for column in self.columns.images]
        serial, name = self.columns.serial_number, self.columns.product_name
        number, has_url = 0, False
        for line, size, cells in self._table.records:
            if len(cells) != width:
                _fit(cells, width)
            urls = None
            faults: tuple[Fault, ...] = ()
            if size <= MAX_CELL_CHARACTERS and len(cells) == width:
                urls = _plain_urls(cells, images)
            if urls is None:
                urls, faults = self._examined(number + 1, line, cells)
            if not urls and not faults and not "".join(cells).strip():
                continue
            number += 1
            if number > self._max_rows:
                raise BadCatalog(f"line {line}: more than {self._max_rows:,} rows: split the file")
            has_url = has_url or bool(urls)
            yield Row(
                number,
                line,
                tuple(cells),
                cells[serial.index] if serial else "",
                cells[name.index] if name else "",
                urls,
                faults,
            )
        self._refuse_nothing_to_do(number, has_url)

    def _examined(
        self, number: int, line: int, cells: list[str]
    ) -> tuple[tuple[ImageUrl, ...], tuple[Fault, ...]]:
        """Read a row that may be at fault; keep its faults."""
        urls = tuple(self._urls(cells))
        faults = tuple(
            Fault(number, line, column, code, message)
            for column, code, message in (*self._faulty_cells(cells), *self._faulty_urls(urls))
        )
        self.fault_count += len(faults)
        self.faults += faults[: MAX_FAULTS_KEPT - len(self.faults)]
        return (() if faults else urls), faults

    def _urls(self, cells: list[str]) -> Iterator[ImageUrl]:
        is_relative = self.base_url is not None
        for column in self.columns.images:
            cell = cells[column.index]
            if cell and len(cell) <= MAX_CELL_CHARACTERS:
                for place in url_places(cell, relative=is_relative):
                    yield ImageUrl(url_at(cell, place), column.header)

    def _faulty_urls(self, urls: Sequence[ImageUrl]) -> Iterator[_FaultyPlace]:
        for image in urls[:MAX_URLS_A_ROW]:
            try:
                absolute_url(image.url, self.base_url)
            except RelativeUrl as error:
                yield image.column, FaultCode.BAD_URL, f"{error} or send base_url"
            except BadUrl as error:
                yield image.column, FaultCode.BAD_URL, str(error)
        if len(urls) > MAX_URLS_A_ROW:
            message = f"{len(urls):,} URLs, {MAX_URLS_A_ROW:,} are allowed: part the row into more"
            yield urls[MAX_URLS_A_ROW].column, FaultCode.TOO_MANY_URLS, message

    def _faulty_cells(self, cells: list[str]) -> Iterator[_FaultyPlace]:
        ours = {column.index for column in self.columns.ours if column}
        for index, header in enumerate(self.header):
            if len(cells[index]) > MAX_CELL_CHARACTERS and index not in ours:
                message = (
                    f"the cell has {len(cells[index]):,} characters, {MAX_CELL_CHARACTERS:,} "
                    "are allowed: shorten it"
                )
                yield header, FaultCode.CELL_TOO_LONG, message
        if len(cells) > len(self.header):
            yield "", FaultCode.EXTRA_CELLS, _surplus_message(cells, len(self.header))

    def _refuse_nothing_to_do(self, rows: int, has_url: bool) -> None:
        if not rows:
            raise BadCatalog(
                f"line {self._table.header.first_line}: there is a header but no row below it: "
                "add a row for each product"
            )
        if not has_url:
            names = ", ".join(repr(column.header) for column in self.columns.images)
            raise BadCatalog(
                f"no valid image URL in {rows:,} row{'s' * (rows != 1)}: correct the column "
                f"{names}, or name another with the option image_column",
                self.faults,
                self.fault_count,
            )


def _fit(cells: list[str], width: int) -> None:
    """Pad a short row; drop empty cells that a long one has too many."""
    cells += [""] * (width - len(cells))
    while len(cells) > width and not cells[-1].strip():
        cells.pop()


def _plain_urls(cells: list[str], images: list[tuple[int, str]]) -> tuple[ImageUrl, ...] | None:
    """Return the URLs of a row in whose image cells only plain URLs stand, else None.

    One match a URL and nothing else, since it runs a million times.
    """
    urls = []
    for index, header in images:
        cell = cells[index]
        if cell:
            if not PLAIN_URLS.fullmatch(cell):
                return None
            urls += [ImageUrl(url, header) for url in cell.split("," if "," in cell else "|")]
    return tuple(urls) if len(urls) <= MAX_URLS_A_ROW else None


def _surplus_message(cells: list[str], width: int) -> str:
    surplus = ", ".join(shown(cell) for cell in cells[width:][:_SHOWN_SURPLUS_CELLS])
    more = ", …" if len(cells) - width > _SHOWN_SURPLUS_CELLS else ""
    return (
        f"expected {width} cells, found {len(cells)}; too many are {surplus}{more}: "
        "put quotes around a cell that holds the delimiter"
    )
