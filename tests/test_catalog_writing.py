"""Results → the output CSV: columns, slots, statuses, errors and quoting."""

import csv
import io
from collections.abc import Sequence

import pytest

from app.catalog import open_catalog, write_output, write_replaced
from app.models import Image, ImageError, ImageResult, ImageStatus, Product

A = "https://h.example.com/a.jpg"
B = "https://h.example.com/b.jpg"
C = "https://h.example.com/c.jpg"
PATHS = "processed/r/"

DONE = ImageResult(ImageStatus.COMPLETED, f"{PATHS}x.jpg")
NOT_FOUND = ImageResult(
    ImageStatus.FAILED, error=ImageError("http_404", "Not Found", permanent=True)
)
TIMEOUT = ImageResult(ImageStatus.FAILED, error=ImageError("timeout", "after 60 s", False))
CANCELLED = ImageResult(
    ImageStatus.CANCELLED, error=ImageError("cancelled", "before it began", False)
)
PENDING = ImageResult(ImageStatus.PENDING)
PROCESSING = ImageResult(ImageStatus.PROCESSING)


def link(path: str) -> str:
    return f"https://pressroom.example.com/{path}"


def done(name: str) -> ImageResult:
    return ImageResult(ImageStatus.COMPLETED, f"{PATHS}{name}")


def product(row: int, *results: ImageResult) -> Product:
    return Product(row, tuple(Image(A, "Images", result) for result in results))


def written(
    write, text: str | bytes, products: Sequence[Product], *, formulas_safe=False, **options
) -> str:
    data = text.encode() if isinstance(text, str) else text
    with open_catalog(io.BytesIO(data), **options) as catalog:
        return b"".join(write(catalog, products, link, formulas_safe=formulas_safe)).decode()


def output(text: str | bytes, *products: Product, **options) -> str:
    return written(write_output, text, products, **options)


def replaced(text: str | bytes, *products: Product, **options) -> str:
    return written(write_replaced, text, products, **options)


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def one_row(*results: ImageResult, urls: int | None = None) -> list[str]:
    """Our three cells of a row with these results."""
    count = len(results) if urls is None else urls
    text = f"SKU,Images\n1,{'|'.join([A] * count)}\n2,{A}\n"
    return cells(output(text, product(1, *results)))[1][2:]


def test_the_output_is_the_input_followed_by_our_three_columns():
    text = output(f"SKU,Images,Colour\n1,{A},red\n", product(1, done("a.jpg")))

    assert text == (
        "SKU,Images,Colour,Output Image Urls,Status,Error\n"
        f"1,{A},red,https://pressroom.example.com/processed/r/a.jpg,completed,\n"
    )


def test_slot_k_belongs_to_url_k_and_a_failed_image_leaves_its_slot_empty():
    slots, status, error = one_row(done("a.jpg"), NOT_FOUND, done("c.jpg"), TIMEOUT)

    assert slots == f"{link(PATHS + 'a.jpg')},,{link(PATHS + 'c.jpg')},"
    assert status == "partial"
    assert error == "2: http_404 Not Found; 4: timeout after 60 s"


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ((DONE,), "completed"),
        ((DONE, DONE), "completed"),
        ((DONE, NOT_FOUND), "partial"),
        ((DONE, CANCELLED), "partial"),
        ((NOT_FOUND,), "failed"),
        ((NOT_FOUND, CANCELLED), "failed"),
        ((CANCELLED, CANCELLED), "cancelled"),
        ((DONE, PENDING), "pending"),
        ((PROCESSING, NOT_FOUND), "pending"),
    ],
)
def test_the_status_of_a_row_follows_from_its_images(results, status: str):
    assert one_row(*results)[1] == status


def test_a_row_without_results_is_pending_with_its_slots_empty():
    assert one_row(urls=3) == [",,", "pending", ""]


def test_rows_that_are_not_processed_say_why():
    text = output(
        f'SKU,Images\n1,{A}\n2,\n3,"ftp://x/a.jpg {A}"\n4,{B}\n',
        product(1, DONE),
        product(4, NOT_FOUND),
    )

    assert [row[2:] for row in cells(text)[1:]] == [
        [link(f"{PATHS}x.jpg"), "completed", ""],
        ["", "no_image", ""],
        [
            "",
            "invalid",
            "bad_url 'ftp://x/a.jpg' begins with ftp: but only http and https are fetched",
        ],
        ["", "failed", "1: http_404 Not Found"],
    ]


def test_the_faults_of_a_row_are_all_named():
    text = output(f"SKU,Images\n1,{A}\n2,a.jpg,surplus\n")

    assert cells(text)[2][4] == (
        "extra_cells expected 2 cells, found 3, too many are 'surplus': put quotes around a cell "
        "that holds the delimiter; bad_url 'a.jpg' is a relative path: write a whole URL "
        "(https://…) or send base_url"
    )


def test_an_error_of_several_lines_is_written_in_one():
    failed = ImageResult(ImageStatus.FAILED, error=ImageError("tls_host", "a\r\n b", True))

    assert one_row(failed)[2] == "1: tls_host a b"


def test_a_comma_in_a_link_does_not_make_two_slots():
    assert one_row(done("a,b.jpg"))[0] == link(f"{PATHS}a%2Cb.jpg")


def test_products_join_their_rows_by_number():
    text = output(
        f"Images\n{A}\n{B}\n{C}\n", product(0, DONE), product(2, done("b.jpg")), product(9, DONE)
    )

    assert [row[1] for row in cells(text)[1:]] == ["", link(f"{PATHS}b.jpg"), ""]


# --- names of our columns -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("SKU,Images", "SKU,Images,Output Image Urls,Status,Error"),
        ("Status,Images", "Status,Images,Output Image Urls,Image Status,Image Error"),
        ("error,Images", "error,Images,Output Image Urls,Image Status,Image Error"),
        ("Images,Output Image Urls,Status,Error", "Images,Output Image Urls,Status,Error"),
        (
            "Status,Images,Output Image Urls,Image Status,Image Error",
            "Status,Images,Output Image Urls,Image Status,Image Error",
        ),
        ("Error,Output Image Urls,Images,Status", "Error,Output Image Urls,Images,Status"),
        ("Output Image Urls,Images", "Output Image Urls,Images,Status,Error"),
    ],
)
def test_our_columns_are_named_so_that_the_inputs_own_stay(header: str, expected: str):
    row = ",".join(A if name == "Images" else "old" for name in header.split(","))

    text = output(f"{header}\n{row}\n", product(1, DONE))

    assert text.splitlines()[0] == expected


def test_the_columns_of_an_earlier_output_are_replaced_in_place():
    first = output(f"SKU,Images,Status\n1,{A},active\n", product(1, NOT_FOUND))

    again = output(first, product(1, DONE))

    assert cells(again) == [
        ["SKU", "Images", "Status", "Output Image Urls", "Image Status", "Image Error"],
        ["1", A, "active", link(f"{PATHS}x.jpg"), "completed", ""],
    ]


def test_an_earlier_output_is_known_by_its_neighbours_when_names_repeat():
    text = f"Image Status,Images,Output Image Urls,Status,Error\nmine,{A},old,old,old\n"

    assert cells(output(text, product(1, DONE)))[1] == [
        "mine", A, link(f"{PATHS}x.jpg"), "completed", "",
    ]  # fmt: skip


def test_the_output_column_can_be_read_as_an_input():
    text = f"SKU,Output Image Urls\n1,{A}\n"

    again = output(text, product(1, DONE), image_columns=["Output Image Urls"])

    assert cells(again)[1] == ["1", A, link(f"{PATHS}x.jpg"), "completed", ""]


# --- dialect and quoting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "has_bom"),
    [("utf-8", False), ("utf-8-sig", True), ("utf-16", True), ("cp1252", True)],
)
def test_the_output_is_utf8_with_a_bom_unless_the_input_was_utf8_without(
    encoding: str, has_bom: bool
):
    text = f"Name,Images\nCafé,{A}\n"

    for write in (output, replaced):
        written_text = write(text.encode(encoding))
        assert written_text.startswith("\ufeff") is has_bom
        assert "Café" in written_text


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_sep_line_preamble_delimiter_and_line_ends_stay(line_end: str):
    lines = ["sep=;", '"Exported; today"', "SKU;Images", f"1;{A}"]
    text = "".join(line + line_end for line in lines)

    assert replaced(text) == text
    assert output(text, product(1, DONE)).split(line_end)[:3] == [
        "sep=;",
        '"Exported; today"',
        "SKU;Images;Output Image Urls;Status;Error",
    ]


@pytest.mark.parametrize(
    ("value", "as_written"),
    [
        ("plain", "plain"),
        ("  leading and trailing  ", "  leading and trailing  "),
        ("semi;colon", "semi;colon"),
        ("com,ma", '"com,ma"'),
        ('a "quoted" word', '"a ""quoted"" word"'),
        ("two\nlines", '"two\nlines"'),
        ("lone\rCR", '"lone\rCR"'),
        ("CR LF\r\n", '"CR LF\r\n"'),
        ("\t", "\t"),
        ("'=1", "'=1"),
        ("\u2028\x85\x0b", "\u2028\x85\x0b"),
    ],
)
def test_values_are_written_unchanged_and_quoted_only_where_needed(value: str, as_written: str):
    quoted = '"' + value.replace('"', '""') + '"'

    assert replaced(f"Name,Images\n{quoted},{A}\n") == f"Name,Images\n{as_written},{A}\n"


def test_a_large_output_comes_in_chunks_of_many_rows():
    text = "Images\n" + f"{A}\n" * 5_000
    with open_catalog(io.BytesIO(text.encode())) as catalog:
        chunks = list(write_output(catalog, (), link))

    assert b"".join(chunks).count(b"\n") == 5_001
    assert all(60_000 < len(chunk) < 80_000 for chunk in chunks[:-1])
    assert len(chunks) == 3


# --- ?urls=replace ------------------------------------------------------------------------------


def test_replacing_keeps_separators_and_the_urls_of_failed_images():
    text = f'SKU,Images,Image Src\n1," {A} |{B}; {C},",https://h.example.com/d e.jpg\n'

    result = replaced(
        text, product(1, done("1.jpg"), NOT_FOUND, done("3.jpg"), done("4.jpg"))
    )  # fmt: skip

    assert cells(result)[1][1:] == [
        f" {link(PATHS + '1.jpg')} |{B}; {link(PATHS + '3.jpg')},",
        link(PATHS + "4.jpg"),
    ]


def test_replacing_exchanges_relative_and_escaped_urls_whole():
    text = 'Images\n"/m/a.jpg,/m/b\\,c.jpg"\n'

    result = replaced(
        text, product(1, done("1.jpg"), done("2.jpg")), base_url="https://h.example.com"
    )

    assert cells(result)[1] == [f"{link(PATHS + '1.jpg')},{link(PATHS + '2.jpg')}"]


def test_replacing_leaves_rows_with_faults_as_they_came():
    text = f"SKU,Images\n1,{A}\n2,a.jpg,surplus\n3,\n"

    assert replaced(text) == text


def test_replacing_leaves_out_the_columns_of_an_earlier_output():
    first = output(f"SKU,Images,Colour\n1,{A},red\n", product(1, NOT_FOUND))

    assert replaced(first, product(1, DONE)) == (
        f"SKU,Images,Colour\n1,{link(PATHS + 'x.jpg')},red\n"
    )


# --- ?formulas=safe -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "defused"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+49 30 1234", "'+49 30 1234"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("-1+1", "'-1+1"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-12", "-12"),
        ("+1.5", "+1.5"),
        ("-1,234.50", "-1,234.50"),
        ("-1e5", "-1e5"),
        ("-20 %", "-20 %"),
        ("a=1", "a=1"),
        ("https://h.example.com/=x", "https://h.example.com/=x"),
        ("\thttps://h.example.com/a", "\thttps://h.example.com/a"),
        ("", ""),
    ],
)
def test_formulas_safe_marks_what_a_spreadsheet_would_run(value: str, defused: str):
    quoted = '"' + value.replace('"', '""') + '"'
    text = f"{quoted},x\nName,Images,=h\n{quoted},{A}\n"

    for write in (output, replaced):
        above, header, row = cells(write(text, product(1, DONE), formulas_safe=True))
        assert (above[0], header[2], row[0]) == (defused, "'=h", defused)
        assert cells(write(text, product(1, DONE)))[2][0] == value
