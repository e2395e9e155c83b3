"""Uploaded bytes → rows: dialects, columns, rows and their faults."""

import codecs
import io
import tracemalloc
from collections.abc import Iterator

import pytest

from app.catalog import Catalog, open_catalog
from app.models import Fault, FaultCode, ImageUrl, Row

A = "https://h.example.com/a.jpg"
B = "https://h.example.com/b.jpg"


def read(data: bytes | str, **options) -> tuple[Catalog, list[Row]]:
    content = data.encode() if isinstance(data, str) else data
    with open_catalog(io.BytesIO(content), **options) as catalog:
        return catalog, list(catalog.rows())


def only_fault(data: str, **options) -> Fault:
    catalog, _ = read(data, **options)
    (fault,) = catalog.faults
    return fault


def test_a_row_tells_its_number_its_line_its_cells_and_its_urls():
    _, rows = read(f'SKU,Name,Images\n7,"two\nlines",{A}\n8,Mug,"{A},{B}"\n')

    assert rows == [
        Row(1, 2, ("7", "two\nlines", A), "7", "two\nlines", (ImageUrl(A, "Images"),)),
        Row(
            2,
            4,
            ("8", "Mug", f"{A},{B}"),
            "8",
            "Mug",
            (ImageUrl(A, "Images"), ImageUrl(B, "Images")),
        ),
    ]


def test_the_file_stays_open_for_its_owner():
    file = io.BytesIO(f"Images\n{A}\n".encode())

    with open_catalog(file) as catalog:
        list(catalog.rows())
    del catalog

    assert not file.closed


def test_a_file_that_was_read_before_is_read_from_its_start():
    file = io.BytesIO(f"Images\n{A}\n".encode())
    file.read()

    with open_catalog(file) as catalog:
        assert len(list(catalog.rows())) == 1


def test_rows_are_read_once():
    with open_catalog(io.BytesIO(f"Images\n{A}\n".encode())) as catalog:
        list(catalog.rows())

        with pytest.raises(RuntimeError, match="once"):
            list(catalog.rows())


# --- encodings, delimiters, line ends -----------------------------------------------------------

TEXT = f"SKU,Name,Images\r\n1,Café,{A}\r\n"


@pytest.mark.parametrize(
    ("data", "encoding", "bom"),
    [
        (TEXT.encode("utf-8"), "utf-8", False),
        (TEXT.encode("utf-8-sig"), "utf-8-sig", True),
        (TEXT.encode("cp1252"), "cp1252", True),
        (TEXT.encode("utf-16"), "utf-16", True),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "utf-16", True),
        (TEXT.replace("é", "e").encode("ascii"), "utf-8", False),
    ],
)
def test_every_encoding_gives_the_same_rows(data: bytes, encoding: str, bom: bool):
    catalog, rows = read(data)

    assert (catalog.dialect.encoding, catalog.dialect.bom) == (encoding, bom)
    assert rows[0].product_name in ("Café", "Cafe")
    assert rows[0].urls == (ImageUrl(A, "Images"),)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_encoding_is_right_when_the_last_byte_tells_it(encoding: str):
    text = "Images,Name\n" + f"{A},Mug\n" * 40_000 + f"{A},é"

    catalog, rows = read(text.encode(encoding))

    assert catalog.dialect.encoding == encoding
    assert rows[-1].product_name == "é"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_delimiter_and_line_end_are_found(delimiter: str, line_end: str):
    lines = [("SKU", "Name", "Images"), ("1", '"a,b;c\td|e"', A), ("2", "Mug", "")]

    catalog, rows = read("".join(delimiter.join(cells) + line_end for cells in lines))

    assert (catalog.dialect.delimiter, catalog.dialect.line_end) == (delimiter, line_end)
    assert [row.product_name for row in rows] == ["a,b;c\td|e", "Mug"]


@pytest.mark.parametrize(("sep", "delimiter"), [("sep=;", ";"), ('"sep=|"', "|"), ("SEP=^", "^")])
def test_a_sep_line_names_the_delimiter(sep: str, delimiter: str):
    catalog, rows = read(f"{sep}\r\nSKU{delimiter}Images\r\n1{delimiter}{A}\r\n")

    assert catalog.dialect.delimiter == delimiter
    assert catalog.dialect.sep_line == f"{sep}\r\n"
    assert rows[0].line == 3


def test_a_file_of_one_column_needs_no_delimiter():
    _, rows = read(f"Images\n{A}|{B}\n")

    assert [image.url for image in rows[0].urls] == [A, B]


# --- header and columns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Input Image Urls", "Image Urls", "Image URL", "Images", "Image Src", "Variant Image",
        "Product image URL", "Variant image URL", "image_link", "additional_image_link",
        "main_image_url", "other_image_url", "base_image", "small_image", "thumbnail_image",
        "swatch_image", "additional_images", "Url", "Urls",
        "INPUT IMAGE URLS", "image-url", " Image  Urls ", "imageurl", "other_image_url3",
        "Images 2", "additional image link",
    ],
)  # fmt: skip
def test_an_image_column_is_found_under_any_of_its_names(header: str):
    catalog, rows = read(f"SKU,{header}\n1,{A}\n")

    assert [column.header for column in catalog.columns.images] == [header]
    assert rows[0].urls == (ImageUrl(A, header),)


def test_all_image_columns_are_read_from_left_to_right():
    _, rows = read(f"Images 2,SKU,Images 1\n{B},1,{A}\n")

    assert rows[0].urls == (ImageUrl(B, "Images 2"), ImageUrl(A, "Images 1"))


def test_a_url_column_counts_only_without_another_image_column():
    _, rows = read(f"Url,Images\nhttps://shop.example.com/p/1,{A}\n")

    assert rows[0].urls == (ImageUrl(A, "Images"),)


@pytest.mark.parametrize(
    ("header", "number", "name"),
    [
        ("Handle,ID,SKU,S. No.,Title,Product Name,Images", "S. No.", "Product Name"),
        ("Handle,ID,SKU,Title,Name,Images", "SKU", "Name"),
        ("ID,Variant SKU,Images", "Variant SKU", None),
        ("serial_number,product,Images", "serial_number", "product"),
        ("item_sku,item_name,Images", "item_sku", "item_name"),
        ("Colour,Images", None, None),
    ],
)
def test_number_and_name_come_from_the_first_header_of_the_contracts_order(
    header: str, number: str | None, name: str | None
):
    catalog, _ = read(f"{header}\n{',' * header.count(',')}{A}\n")

    serial_number, product_name = catalog.columns.serial_number, catalog.columns.product_name
    assert (serial_number.header if serial_number else None) == number
    assert (product_name.header if product_name else None) == name


def test_lines_above_the_header_are_kept():
    catalog, rows = read(f'"My ""shop""",,\n\nExported 2026-01-31\nSKU,Images\n1,{A}\n')

    assert [record.raw for record in catalog.preamble] == [
        '"My ""shop""",,\n',
        "\n",
        "Exported 2026-01-31\n",
    ]
    assert (catalog.header, rows[0].line) == (("SKU", "Images"), 5)


def test_image_column_chooses_a_column_instead_of_the_names():
    catalog, rows = read(f"SKU,Images,Photo (main)\n1,{A},{B}\n", image_columns=["Photo (main)"])

    assert rows[0].urls == (ImageUrl(B, "Photo (main)"),)
    assert [column.index for column in catalog.columns.images] == [2]


def test_image_column_selects_every_column_of_a_repeated_header():
    _, rows = read(f"Pic,SKU,Pic\n{A},1,{B}\n", image_columns=["Pic"])

    assert [image.url for image in rows[0].urls] == [A, B]


def test_image_column_finds_its_header_below_other_lines():
    catalog, _ = read(f"Exported today\nSKU,Pic\n1,{A}\n", image_columns=["Pic"])

    assert catalog.header == ("SKU", "Pic")


# --- rows ---------------------------------------------------------------------------------------


def test_blank_rows_are_no_rows():
    _, rows = read(f"SKU,Images\n\n1,{A}\n,\n  , \n\n2,{B}\n,,,\n")

    assert [(row.number, row.line) for row in rows] == [(1, 3), (2, 7)]


def test_short_rows_are_padded_and_surplus_empty_cells_dropped():
    catalog, rows = read(f"SKU,Images,Colour\n1,{A}\n2,{A},red,, \n")

    assert [row.cells for row in rows] == [("1", A, ""), ("2", A, "red")]
    assert catalog.fault_count == 0


def test_a_row_without_a_url_is_no_fault():
    catalog, rows = read(f"SKU,Images\n1,\n2,{A}\n")

    assert (rows[0].urls, rows[0].faults) == ((), ())
    assert catalog.fault_count == 0


def test_a_row_with_a_fault_is_not_processed_and_the_others_are():
    catalog, rows = read(f"SKU,Images\n1,{A}\n2,{A} ftp://h.example.com/b.jpg\n3,{B}\n")

    assert [len(row.urls) for row in rows] == [1, 0, 1]
    assert catalog.faults == [*rows[1].faults]
    assert catalog.fault_count == 1


def test_bad_url_tells_where_and_what_to_do():
    fault = only_fault(f'Name,Images\nMug,{A}\n"two\nlines",\nPot,photos/pot.jpg\n')

    assert fault == Fault(
        3,
        5,
        "Images",
        FaultCode.BAD_URL,
        "'photos/pot.jpg' is a relative path: write a whole URL (https://…) or send base_url",
    )


def test_extra_cells_tells_what_is_too_many():
    fault = only_fault(f"SKU,Images\n1,{A}\n2,{A},{B},x\n")

    assert fault == Fault(
        2,
        3,
        "",
        FaultCode.EXTRA_CELLS,
        f"expected 2 cells, found 4; too many are '{B}', 'x': "
        "put quotes around a cell that holds the delimiter",
    )


def test_too_many_urls_tells_how_many_are_allowed():
    thousand = "|".join([A] * 1000)
    fault = only_fault(f"SKU,Images,Image Src\n1,{thousand},\n2,{thousand},{B}\n")

    assert fault == Fault(
        2,
        3,
        "Image Src",
        FaultCode.TOO_MANY_URLS,
        "1,001 URLs, 1,000 are allowed: part the row into more",
    )


def test_cell_too_long_is_a_fault_of_its_row_only():
    limit = 131_072
    fault = only_fault(f"SKU,Notes,Images\n1,{'x' * limit},{A}\n2,{'x' * limit}x,{A}\n")

    assert fault == Fault(
        2,
        3,
        "Notes",
        FaultCode.CELL_TOO_LONG,
        "the cell has 131,073 characters, 131,072 are allowed: shorten it",
    )


def test_a_picture_pasted_into_an_image_cell_is_one_fault():
    fault = only_fault(f"SKU,Images\n1,{A}\n2,data:image/png;base64,{'A' * 3_000_000}\n".replace(
        "png;base64,", "png;base64:"))  # fmt: skip

    assert fault.code == FaultCode.CELL_TOO_LONG


def test_the_first_thousand_faults_are_kept_and_all_are_counted():
    catalog, rows = read(f"Images\n{A}\n" + "a.jpg\n" * 1500)

    assert (len(catalog.faults), catalog.fault_count) == (1000, 1500)
    assert rows[-1].faults[0].row == 1501


class _Repeated(io.RawIOBase):
    """A file of `count` equal lines below a header, which takes no memory."""

    def __init__(self, line: bytes, count: int):
        self._line, self._count = line, count
        self._lines: Iterator[bytes] = iter(())
        self._rest = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        assert (offset, whence) == (0, 0)
        self._rest = b"SKU,Name,Images\n"
        self._lines = (self._line for _ in range(self._count))
        return 0

    def tell(self) -> int:
        return 0

    def readinto(self, buffer) -> int:
        while len(self._rest) < len(buffer) and (line := next(self._lines, b"")):
            self._rest += line
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def test_memory_does_not_grow_with_the_rows():
    peaks = []
    for count in (20_000, 50_000):
        file = io.BufferedReader(_Repeated(f"1,a mug,{A}\n2,faulty,a.jpg\n".encode(), count // 2))
        tracemalloc.start()
        with open_catalog(file) as catalog:
            assert sum(1 for _ in catalog.rows()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] * 1.2
