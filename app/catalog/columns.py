"""Header cells → which column means what, and how the output's columns are named.

Called by `table` to find the header among the first lines, by `reading` and by `writing`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import BadCatalog

HEADER_LINES = 5  # the header is one of so many first records

_IMAGE_HEADERS = (
    "Input Image Urls", "Image Urls", "Image URL", "Images", "Image Src", "Variant Image",
    "Product image URL", "Variant image URL", "image_link", "additional_image_link",
    "main_image_url", "other_image_url", "base_image", "small_image", "thumbnail_image",
    "swatch_image", "additional_images",
)  # fmt: skip
_LAST_RESORT_IMAGE_HEADERS = ("Url", "Urls")
_SERIAL_NUMBER_HEADERS = (
    "S. No.", "Serial Number", "SNo", "SKU", "Variant SKU", "item_sku", "ID", "Handle",
)  # fmt: skip
_PRODUCT_NAME_HEADERS = ("Product Name", "item_name", "Name", "Title", "Product")

_SHOWN_HEADERS = 50
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file: its place from 0, and its header as written."""

    index: int
    header: str


@dataclass(frozen=True, slots=True)
class Columns:
    """What was found by name. `images` from left to right, never empty.

    `output`, `status` and `error` are our own columns, when the file is an earlier output.
    """

    images: tuple[Column, ...]
    serial_number: Column | None = None
    product_name: Column | None = None
    output: Column | None = None
    status: Column | None = None
    error: Column | None = None

    @property
    def ours(self) -> tuple[Column | None, Column | None, Column | None]:
        return self.output, self.status, self.error


def find_header(head: Sequence[Sequence[str]], image_columns: Sequence[str]) -> int | None:
    """Return which of the first records is the header: the first that has an image column.

    Except that a line of labels right above the line of names is no header: Amazon's flat files
    have `Images` above `Main Image URL` above `main_image_url`. The lower line names the same
    columns, which no row of data does.
    """
    found = [set(_image_indexes(cells, image_columns)) for cells in head]
    index = next((index for index, indexes in enumerate(found) if indexes), None)
    if index is None or image_columns:
        return index
    while index + 1 < len(found) and found[index] <= found[index + 1]:
        index += 1
    return index


def find_columns(header: Sequence[str], image_columns: Sequence[str]) -> Columns:
    """Return the columns of a header that `find_header` chose."""
    names = [_plain(cell) for cell in header]
    images = _image_indexes(header, image_columns)

    def column(index: int | None) -> Column | None:
        return None if index is None else Column(index, header[index])

    output, status, error = _our_indexes(names, images)
    return Columns(
        images=tuple(Column(index, header[index]) for index in images),
        serial_number=column(_first_index(names, _SERIAL_NUMBER_HEADERS)),
        product_name=column(_first_index(names, _PRODUCT_NAME_HEADERS)),
        output=column(output),
        status=column(status),
        error=column(error),
    )


def no_image_column(header: Sequence[str], image_columns: Sequence[str]) -> BadCatalog:
    """Return the refusal of a file in whose first lines no header was found."""
    found = ", ".join(
        repr(cell.strip()[:_SHOWN_CHARACTERS]) for cell in header[:_SHOWN_HEADERS] if cell.strip()
    )
    more = f" and {len(header) - _SHOWN_HEADERS} more" if len(header) > _SHOWN_HEADERS else ""
    if image_columns:
        present = {cell.strip() for cell in header}
        missing = ", ".join(
            repr(name) for name in dict.fromkeys(image_columns) if name.strip() not in present
        )
        return BadCatalog(
            f"image_column {missing} is not among the headers: found {found}{more}; "
            "write it as it stands in the file"
        )
    return BadCatalog(
        f"no image column in the first {HEADER_LINES} lines: found the headers {found}{more}; "
        "name the one with the image URLs in the option image_column, as it stands in the file, "
        f"or call it {', '.join(_IMAGE_HEADERS[:5])}, or by another name that docs/api.md lists"
    )


def output_header(
    header: Sequence[str], columns: Columns
) -> tuple[list[str], tuple[int, int, int]]:
    """Return the output's header, and where Output Image Urls, Status and Error stand in it."""
    full = list(header)
    indexes = []
    for column, name in zip(columns.ours, _our_names(header, columns), strict=True):
        if column is None:
            full.append(name)
        indexes.append(len(full) - 1 if column is None else column.index)
    output, status, error = indexes
    return full, (output, status, error)


def _plain(header: str) -> str:
    return re.sub(r"[\W_]+", "", header.casefold())


def _plain_all(headers: Sequence[str]) -> frozenset[str]:
    return frozenset(map(_plain, headers))


_IMAGE_NAMES = _plain_all(_IMAGE_HEADERS)
_LAST_RESORT_IMAGE_NAMES = _plain_all(_LAST_RESORT_IMAGE_HEADERS)


def _image_indexes(header: Sequence[str], image_columns: Sequence[str]) -> list[int]:
    """Return the places of the image columns; none unless all `image_columns` are there."""
    if image_columns:
        cells = [cell.strip() for cell in header]
        wanted = {name.strip() for name in image_columns}
        return [i for i, cell in enumerate(cells) if cell in wanted] if wanted <= {*cells} else []
    names = [_plain(cell).rstrip("0123456789") for cell in header]
    by_name = [i for i, name in enumerate(names) if name in _IMAGE_NAMES]
    return by_name or [i for i, name in enumerate(names) if name in _LAST_RESORT_IMAGE_NAMES]


def _first_index(names: Sequence[str], headers: Sequence[str]) -> int | None:
    return next((names.index(_plain(h)) for h in headers if _plain(h) in names), None)


_OUR_NAMES = ("Status", "Error")
_OUR_NAMES_BESIDE_OTHERS = ("Image Status", "Image Error")


def _our_names(header: Sequence[str], columns: Columns) -> tuple[str, str, str]:
    """An input's own Status or Error stays, and both of ours get the longer names."""
    names = [_plain(cell) for cell in header]
    is_taken = columns.output is None and ("status" in names or "error" in names)
    return ("Output Image Urls", *(_OUR_NAMES_BESIDE_OTHERS if is_taken else _OUR_NAMES))


def _our_indexes(
    names: Sequence[str], images: Sequence[int]
) -> tuple[int | None, int | None, int | None]:
    """Return where an earlier output has our columns.

    They were written side by side, and are first looked for so; a user may have moved them.
    An output column that image_column asks to read is an input.
    """
    outputs = [i for i, name in enumerate(names) if name == "outputimageurls" and i not in images]
    if not outputs:
        return None, None, None
    pairs = [tuple(map(_plain, pair)) for pair in (_OUR_NAMES_BESIDE_OTHERS, _OUR_NAMES)]
    for at in outputs:
        if tuple(names[at + 1 : at + 3]) in pairs:
            return at, at + 1, at + 2
    pair = next((pair for pair in pairs if set(pair) & set(names)), pairs[0])
    status, error = (names.index(name) if name in names else None for name in pair)
    return outputs[0], status, error
