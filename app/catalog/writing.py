"""A catalog and its results → the records of an output, and the bytes of a CSV of them.

Called by the pipeline, by downloads and by the terminal client.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from app.catalog.cells import url_places
from app.catalog.columns import output_header
from app.catalog.reading import Catalog
from app.models import Image, ImageStatus, Product, Row, RowStatus

_CHUNK_CHARACTERS = 1 << 16
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER_OR_URL = re.compile(
    r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:e[+-]?[0-9]+)?\s*%?|\s*(?:https?:)?//\S*\s*",
    re.ASCII | re.IGNORECASE,
)

Link = Callable[[str], str]
Records = Iterator[list[str]]


def output_records(
    catalog: Catalog,
    products: Iterable[Product],
    link: Link,
    *,
    formulas_safe: bool = False,
    rows: range | None = None,
) -> Records:
    """Yield the header and every row: the input's columns, Output Image Urls, Status and Error.

    `catalog` is freshly opened, with the options of the upload. `products` come in order of their
    rows; of a row that has none, the row itself tells (`invalid`, `no_image`, else `pending`).
    `link` makes a public URL of a storage key. `formulas_safe` puts `'` before cells of the input
    that a spreadsheet would run. `rows` chooses a part. Surplus cells of a row (`extra_cells`) have
    no column and are not written; the error names them.
    """
    header, (output, status, error) = output_header(catalog.header, catalog.columns)
    width = len(catalog.header)
    yield [*_input_cells(catalog.header, formulas_safe), *header[width:]]
    for row, images in _with_images(_chosen(catalog.rows(), rows), products):
        cells = _input_cells(row.cells[:width], formulas_safe)
        cells += [""] * (len(header) - width)
        cells[output] = ",".join(_slot(image, link) for image in images)
        cells[status] = _status(row, images)
        cells[error] = _error(row, images)
        yield cells


def replaced_records(
    catalog: Catalog, products: Iterable[Product], link: Link, *, formulas_safe: bool = False
) -> Records:
    """Yield the input's own columns, each image URL exchanged for its output URL.

    Of an image cell only the URLs of completed images change; separators, and the URLs of the
    others, stay as written. The columns of an earlier output are left out: they are not the
    input's own. Arguments as for `output_records`.
    """
    ours = sorted({column.index for column in catalog.columns.ours if column}, reverse=True)
    yield _without(_input_cells(catalog.header, formulas_safe), ours)
    for row, images in _with_images(catalog.rows(), products):
        slots = [_slot(image, link) for image in images]
        cells = _with_urls_replaced(catalog, row, slots) if any(slots) else row.cells
        yield _without(_input_cells(cells, formulas_safe), ours)


def preamble_records(catalog: Catalog, *, formulas_safe: bool = False) -> Records:
    """Yield what stands above the header."""
    for record in catalog.preamble:
        yield _input_cells(record.cells, formulas_safe)


def write_output(
    catalog: Catalog,
    products: Iterable[Product],
    link: Link,
    *,
    formulas_safe: bool = False,
    rows: range | None = None,
) -> Iterator[bytes]:
    """The CSV of `output_records`."""
    records = output_records(catalog, products, link, formulas_safe=formulas_safe, rows=rows)
    return _write_csv(catalog, records, formulas_safe=formulas_safe)


def write_replaced(
    catalog: Catalog, products: Iterable[Product], link: Link, *, formulas_safe: bool = False
) -> Iterator[bytes]:
    """The CSV of `replaced_records`."""
    records = replaced_records(catalog, products, link, formulas_safe=formulas_safe)
    return _write_csv(catalog, records, formulas_safe=formulas_safe)


def _write_csv(
    catalog: Catalog, records: Records, *, formulas_safe: bool = False
) -> Iterator[bytes]:
    """Yield chunks of a file written as the input was; what is above the header stays."""
    delimiter, line_end = catalog.dialect.delimiter, catalog.dialect.line_end
    above = [record.raw for record in catalog.preamble]
    if formulas_safe:
        safe = preamble_records(catalog, formulas_safe=True)
        above = [_joined(cells, delimiter) + line_end for cells in safe]
    batch = ["\ufeff" if catalog.dialect.bom else "", catalog.dialect.sep_line, *above]
    size = 0
    for cells in records:
        batch += (_joined(cells, delimiter), line_end)
        size += len(batch[-2])
        if size >= _CHUNK_CHARACTERS:
            yield "".join(batch).encode()
            batch.clear()
            size = 0
    yield "".join(batch).encode()


def _chosen(rows: Iterable[Row], numbers: range | None) -> Iterator[Row]:
    """Reads no further than the last of them."""
    for row in rows:
        if numbers is None or row.number in numbers:
            yield row
        if numbers is not None and row.number >= numbers[-1]:
            return


def _with_images(
    rows: Iterable[Row], products: Iterable[Product]
) -> Iterator[tuple[Row, tuple[Image, ...]]]:
    """Join rows and products, both in order of their numbers."""
    following = iter(products)
    product = next(following, None)
    for row in rows:
        while product and product.row < row.number:
            product = next(following, None)
        if product and product.row == row.number and product.images:
            yield row, product.images
        else:
            yield row, tuple(Image(image.url, image.column) for image in row.urls)


def _slot(image: Image, link: Link) -> str:
    """Return the image's output URL, or nothing; a comma in it would make two slots of one."""
    result = image.result
    if result.status is not ImageStatus.COMPLETED or result.path is None:
        return ""
    return link(result.path).replace(",", "%2C")


def _status(row: Row, images: Sequence[Image]) -> RowStatus:
    if row.faults:
        return RowStatus.INVALID
    statuses = {image.result.status for image in images}
    if not statuses:
        return RowStatus.NO_IMAGE
    if statuses & {ImageStatus.PENDING, ImageStatus.PROCESSING}:
        return RowStatus.PENDING
    if statuses == {ImageStatus.COMPLETED}:
        return RowStatus.COMPLETED
    if ImageStatus.COMPLETED in statuses:
        return RowStatus.PARTIAL
    return RowStatus.FAILED if ImageStatus.FAILED in statuses else RowStatus.CANCELLED


def _error(row: Row, images: Sequence[Image]) -> str:
    """Return one line that begins with a code or a slot number, so never with a formula."""
    texts = [f"{fault.code} {fault.message}" for fault in row.faults] + [
        f"{slot}: {image.result.error.code} {image.result.error.message}"
        for slot, image in enumerate(images, start=1)
        if image.result.error
    ]
    # A semicolon parts them, and so may stand in none of them.
    return "; ".join(" ".join(text.replace(";", ",").split()) for text in texts)


def _with_urls_replaced(catalog: Catalog, row: Row, slots: Sequence[str]) -> list[str]:
    """Return the row's cells, with every URL exchanged whose slot is filled."""
    cells = list(row.cells)
    remaining = iter(slots)
    for column in catalog.columns.images:
        cell = row.cells[column.index]
        pieces = []
        end_of_last = 0
        for start, end in url_places(cell, relative=catalog.base_url is not None):
            pieces += [cell[end_of_last:start], next(remaining, "") or cell[start:end]]
            end_of_last = end
        cells[column.index] = "".join(pieces) + cell[end_of_last:]
    return cells


def _input_cells(cells: Sequence[str], formulas_safe: bool) -> list[str]:
    return [_defused(cell) for cell in cells] if formulas_safe else list(cells)


def _defused(cell: str) -> str:
    is_formula = cell.startswith(_FORMULA_STARTS) and not _NUMBER_OR_URL.fullmatch(cell)
    return "'" + cell if is_formula else cell


def _without(cells: list[str], indexes: Iterable[int]) -> list[str]:
    for index in indexes:
        del cells[index]
    return cells


def _joined(cells: Sequence[str], delimiter: str) -> str:
    """Return one record, with quotes only around cells that need them.

    Not `csv.writer`: before Python 3.13 it leaves a lone CR unquoted where the line end is LF.
    """
    record = delimiter.join(cells)
    if _is_plain(record) and record.count(delimiter) == len(cells) - 1:
        return record
    return delimiter.join(
        cell if _is_plain(cell) and delimiter not in cell else '"' + cell.replace('"', '""') + '"'
        for cell in cells
    )


def _is_plain(text: str) -> bool:
    return '"' not in text and "\n" not in text and "\r" not in text
