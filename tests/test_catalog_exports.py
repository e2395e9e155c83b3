"""Exports of real shops, unedited: what is read from them, and that they can go back as they came.

The files in `exports/` have the column sets, encodings and line ends that those systems write;
products and hosts are invented.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.catalog import Catalog, open_catalog, write_output, write_replaced
from app.models import Image, ImageError, ImageResult, ImageStatus, Product, Row

EXPORTS = Path(__file__).parent / "exports"
MEDIA = "https://shop.example.com/media/catalog/product"
SHOPIFY = "https://cdn.example.com/s/files/1/0533/2089/files"
WOO = "https://shop.example.com/wp-content/uploads/2024/05"
FEED = "https://cdn.example.com/feed"
AMAZON = "https://images.example.com/amz"


@dataclass(frozen=True)
class Export:
    """One file, how it was written, and what must be found in it."""

    name: str
    encoding: str
    delimiter: str
    line_end: str
    image_columns: list[str]
    rows: list[tuple[str, str, list[str]]]  # number, product name, URLs
    base_url: str | None = None
    lines_above_header: int = 0


SHOPIFY_CLASSIC = Export(
    "shopify-classic.csv",
    "utf-8",
    ",",
    "\n",
    ["Image Src", "Variant Image"],
    [
        (
            "BR-LS-S",
            'Linen Shirt "Brise"',
            [
                f"{SHOPIFY}/linen-shirt-front.jpg?v=1718270001",
                f"{SHOPIFY}/linen-shirt-white.jpg?v=1718270001",
            ],
        ),
        (
            "BR-LS-M",
            "",
            [
                f"{SHOPIFY}/linen-shirt-back.jpg?v=1718270001",
                f"{SHOPIFY}/linen-shirt-white.jpg?v=1718270001",
            ],
        ),
        ("", "", [f"{SHOPIFY}/linen-shirt-detail_1x1.png?v=1718270044"]),
        ("BR-LS-L", "", []),
        ("", "Café Crème Mug", [f"{SHOPIFY}/mug_cr%C3%A8me.webp?v=1700000000"]),
        ("", "Gift Card", []),
    ],
)
SHOPIFY_2025 = Export(
    "shopify-2025.csv",
    "utf-8",
    ",",
    "\n",
    ["Product image URL", "Variant image URL"],
    [
        (
            "FJ-TR2-42-BLK",
            "Trail Runner 2",
            [
                f"{SHOPIFY}/trail-runner-2_hero.jpg?v=1736000000",
                f"{SHOPIFY}/trail-runner-2_black.jpg?v=1736000000",
            ],
        ),
        (
            "FJ-TR2-42-RED",
            "",
            [
                f"{SHOPIFY}/trail-runner-2_sole.jpg?v=1736000000",
                f"{SHOPIFY}/trail-runner-2_red.jpg?v=1736000000",
            ],
        ),
        ("", "", [f"{SHOPIFY}/trail-runner-2_worn.avif?v=1736000012"]),
        ("FJ-TR2-43-RED", "", [f"{SHOPIFY}/trail-runner-2_red.jpg?v=1736000000"]),
        ("FJ-SOCK", "Løpesokker, 2-pack", []),
    ],
)
WOOCOMMERCE = Export(
    "woocommerce.csv",
    "utf-8-sig",
    ",",
    "\n",
    ["Images"],
    [
        (
            "woo-hoodie",
            "Hoodie",
            [f"{WOO}/hoodie-2.jpg", f"{WOO}/hoodie-blue-1.jpg", f"{WOO}/hoodie, back.jpg"],
        ),
        ("woo-beanie", "Beanie", [f"{WOO}/w_300,h_300/beanie.jpg"]),
        ("", "'=Equal Shirt", [f"{WOO}/equal-shirt.jpg"]),
        ("woo-hoodie-green", "Hoodie - Green", []),
        ("wp-pennant", "WordPress Pennant", [f"{WOO}/pennant.jpg", f"{WOO}/pennant-größe.jpg"]),
        ("logo-collection", "Logo Collection", [f"{WOO}/logo-1.jpg", f"{WOO}/logo-1.jpg"]),
    ],
)
MAGENTO = Export(
    "magento.csv",
    "utf-8",
    ",",
    "\n",
    ["base_image", "small_image", "thumbnail_image", "swatch_image", "additional_images"],
    [
        (
            "24-MB01",
            'Duffle "Weekend" Bag',
            ["/m/b/mb01-blue-0.jpg"] * 5 + ["/m/b/mb01-blue-1.jpg"],
        ),
        (
            "24-MB04",
            "Messenger Bag",
            ["/m/b/mb04-black-0.jpg"] * 4 + ["/m/b/mb04-black-0_alt1.jpg", "/m/b/mb04 strap.jpg"],
        ),
        ("24-UG06", 'Flask "Affirm"', ["/u/g/ug06-lb-0.jpg"] * 4),
        ("24-UG06", "Trinkflasche „Affirm“", []),
        ("24-WG080", "Companion Kit", []),
        (
            "24-WG09",
            "Cloud-hosted Strap",
            ["https://cdn.example.com/media/strap.jpg"] * 4 + ["/s/t/strap-2.jpg"],
        ),
    ],
    base_url=MEDIA,
)
GOOGLE_MERCHANT = Export(
    "google-merchant.tsv",
    "utf-8",
    "\t",
    "\n",
    ["image_link", "additional_image_link"],
    [
        (
            "KS-1001",
            "Desk Lamp, brass",
            [f"{FEED}/desk-lamp.jpg", f"{FEED}/desk-lamp-2.jpg", f"{FEED}/desk-lamp-3.jpg"],
        ),
        ("KS-1002", "Desk Lamp, black", [f"{FEED}/desk-lamp-black.jpg?w=1200&h=1200"]),
        (
            "KS-1003",
            "Étagère „Nord“",
            [f"{FEED}/étagère nord.jpg", f"{FEED}/etagere-2.jpg", f"{FEED}/etagere-3.jpg"],
        ),
        ("KS-1004", "Gift wrap", []),
        ("KS-1005", "Rug 160x230", ["http://img.example.com/rug,160x230.png"]),
    ],
)
AMAZON_FLAT_FILE = Export(
    "amazon-flat-file.txt",
    "cp1252",
    "\t",
    "\r\n",
    ["main_image_url", "other_image_url1", "other_image_url2", "other_image_url3"],
    [
        (
            "VB-PAN-P",
            "Cast-iron pan – all sizes",
            [f"{AMAZON}/pan-main.jpg", f"{AMAZON}/pan-1.jpg", f"{AMAZON}/pan-2.jpg"],
        ),
        (
            "VB-PAN-24",
            "Cast-iron pan, 24 cm",
            [f"{AMAZON}/pan-24.jpg", f"{AMAZON}/pan-24-side.jpg", f"{AMAZON}/pan-24-box.jpg"],
        ),
        ("VB-PAN-28", "Cast-iron pan, 28 cm", [f"{AMAZON}/pan-28.jpg"]),
        ("VB-LID", "Lid for Vårbacken™ pans", ["http://images.example.com/amz/lid.jpg"]),
        ("VB-OLD", "", []),
    ],
    lines_above_header=2,
)
ALL = [
    SHOPIFY_CLASSIC,
    SHOPIFY_2025,
    WOOCOMMERCE,
    MAGENTO,
    GOOGLE_MERCHANT,
    AMAZON_FLAT_FILE,
]
each_export = pytest.mark.parametrize("export", ALL, ids=lambda export: export.name)


def content(export: Export) -> bytes:
    return (EXPORTS / export.name).read_bytes()


def read(data: bytes, export: Export) -> tuple[Catalog, list[Row]]:
    with open_catalog(io.BytesIO(data), base_url=export.base_url) as catalog:
        return catalog, list(catalog.rows())


def products_of(rows: list[Row], is_completed=lambda slot: True) -> list[Product]:
    """Every image completed as `<row>-<slot>.jpg`, or failed."""
    failed = ImageResult(ImageStatus.FAILED, error=ImageError("http_404", "Not Found", True))
    return [
        Product(
            row.number,
            tuple(
                Image(
                    image.url,
                    image.column,
                    ImageResult(ImageStatus.COMPLETED, f"{row.number}-{slot}.jpg")
                    if is_completed(slot)
                    else failed,
                )
                for slot, image in enumerate(row.urls, start=1)
            ),
        )
        for row in rows
    ]


def link(path: str) -> str:
    return f"https://pressroom.example.com/processed/{path}"


def written(write, export: Export, products: list[Product]) -> bytes:
    with open_catalog(io.BytesIO(content(export)), base_url=export.base_url) as catalog:
        return b"".join(write(catalog, products, link))


def table(data: bytes, encoding: str, delimiter: str) -> list[list[str]]:
    """Cells by another reader than ours."""
    return list(
        csv.reader(io.StringIO(data.decode(encoding), newline=""), delimiter=delimiter, strict=True)
    )


def input_table(export: Export) -> list[list[str]]:
    return table(content(export), export.encoding, export.delimiter)


def output_encoding(export: Export) -> str:
    return "utf-8" if export.encoding == "utf-8" else "utf-8-sig"


@each_export
def test_an_export_is_accepted_unedited_with_all_its_urls(export: Export):
    catalog, rows = read(content(export), export)

    found = [
        (row.serial_number, row.product_name, [image.url for image in row.urls]) for row in rows
    ]
    assert found == export.rows
    assert catalog.fault_count == 0


@each_export
def test_the_image_columns_of_an_export_are_found_by_name(export: Export):
    catalog, _ = read(content(export), export)

    assert [column.header for column in catalog.columns.images] == export.image_columns


@each_export
def test_the_dialect_of_an_export_is_found(export: Export):
    catalog, _ = read(content(export), export)

    dialect = catalog.dialect
    assert (dialect.encoding, dialect.delimiter, dialect.line_end) == (
        export.encoding,
        export.delimiter,
        export.line_end,
    )
    assert len(catalog.preamble) == export.lines_above_header


@each_export
def test_replacing_urls_changes_image_cells_and_nothing_else(export: Export):
    before = input_table(export)
    _, rows = read(content(export), export)

    after = table(
        written(write_replaced, export, products_of(rows)),
        output_encoding(export),
        export.delimiter,
    )

    header = before[export.lines_above_header]
    changed = {
        header[column]
        for old, new in zip(before, after, strict=True)
        for column in range(len(header))
        if old[column] != new[column]
    }
    assert changed <= set(export.image_columns)
    assert [len(cells) for cells in after] == [len(cells) for cells in before]


@each_export
def test_a_replaced_export_is_read_again_with_the_output_urls(export: Export):
    _, rows = read(content(export), export)

    _, again = read(written(write_replaced, export, products_of(rows)), export)

    expected = [
        [link(f"{row.number}-{slot}.jpg") for slot in range(1, len(row.urls) + 1)] for row in rows
    ]
    assert [[image.url for image in row.urls] for row in again] == expected


@each_export
def test_a_failed_image_keeps_its_source_url_beside_replaced_ones(export: Export):
    _, rows = read(content(export), export)
    products = products_of(rows, is_completed=lambda slot: slot % 2 == 0)

    _, again = read(written(write_replaced, export, products), export)

    expected = [
        [
            link(f"{row.number}-{slot}.jpg") if slot % 2 == 0 else image.url
            for slot, image in enumerate(row.urls, start=1)
        ]
        for row in rows
    ]
    assert [[image.url for image in row.urls] for row in again] == expected


@each_export
def test_an_export_whose_images_all_fail_comes_back_cell_by_cell(export: Export):
    _, rows = read(content(export), export)
    products = products_of(rows, is_completed=lambda slot: False)

    data = written(write_replaced, export, products)

    assert table(data, output_encoding(export), export.delimiter) == input_table(export)


@each_export
def test_line_ends_and_the_lines_above_the_header_stay(export: Export):
    _, rows = read(content(export), export)

    for write in (write_output, write_replaced):
        data = written(write, export, products_of(rows))
        text = data.decode(output_encoding(export))
        original = content(export).decode(export.encoding)
        above = export.line_end.join(original.split(export.line_end)[: export.lines_above_header])
        assert text.startswith(above)
        assert text.endswith(export.line_end)
        assert ("\r\n" in text) is (export.line_end == "\r\n")


@each_export
def test_the_output_has_the_input_then_one_slot_for_each_url(export: Export):
    before = input_table(export)
    _, rows = read(content(export), export)

    data = written(write_output, export, products_of(rows))

    after = table(data, output_encoding(export), export.delimiter)
    above, width = export.lines_above_header, len(before[export.lines_above_header])
    assert [cells[:width] for cells in after] == before
    for row, cells in zip(rows, after[above + 1 :], strict=True):
        slots = cells[width].split(",") if cells[width] else []
        assert slots == [link(f"{row.number}-{k}.jpg") for k in range(1, len(row.urls) + 1)]
        assert cells[width + 1] == ("completed" if row.urls else "no_image")


def test_shopifys_own_status_column_stays_beside_ours():
    _, rows = read(content(SHOPIFY_CLASSIC), SHOPIFY_CLASSIC)

    data = written(write_output, SHOPIFY_CLASSIC, products_of(rows))

    header, first, *_ = table(data, "utf-8", ",")
    assert header[-4:] == ["Status", "Output Image Urls", "Image Status", "Image Error"]
    assert (first[-4], first[-2]) == ("active", "completed")


def test_a_relative_magento_path_is_refused_in_its_row_when_there_is_no_base_url():
    with open_catalog(io.BytesIO(content(MAGENTO))) as catalog:
        rows = list(catalog.rows())

    # only the rows of whole URLs and those without a URL are in order
    assert [bool(row.faults) for row in rows] == [True, True, True, False, False, False]
    assert "base_url" in rows[0].faults[0].message
