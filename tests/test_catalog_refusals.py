"""Files that are refused as a whole: what is said, where, and what to do."""

import codecs
import io

import pytest

from app.catalog import columns, open_catalog, table
from app.config import PROJECT_DIR
from app.errors import BadCatalog

A = "https://h.example.com/a.jpg"


def refusal(data: bytes | str, **options) -> BadCatalog:
    content = data.encode() if isinstance(data, str) else data
    with pytest.raises(BadCatalog) as refused, open_catalog(io.BytesIO(content), **options) as file:
        list(file.rows())
    return refused.value


def test_a_header_in_the_sixth_line_is_too_late():
    assert "first 5 lines" in str(refusal("a\nb\nc\nd\ne\nSKU,Images\n1,x\n"))


@pytest.mark.parametrize("data", [b"", b"\n \r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_an_empty_file_is_refused(data: bytes):
    assert str(refusal(data)) == "the file is empty: upload a CSV file with a header and rows"


@pytest.mark.parametrize("data", ["SKU,Images", "SKU,Images\r\n", "SKU,Images\n\n,\n"])
def test_a_header_alone_is_refused(data: str):
    assert str(refusal(data)) == (
        "line 1: there is a header but no row below it: add a row for each product"
    )


def test_a_file_without_an_image_column_is_refused_with_what_was_found_and_what_is_accepted():
    message = str(refusal("SKU;Photo;Colour\n1;x;red\n"))

    assert "found the headers 'SKU', 'Photo', 'Colour'" in message
    assert "Input Image Urls, Image Urls, Image URL, Images, Image Src" in message
    assert "image_column" in message


def test_headers_are_told_apart_by_their_own_delimiter_whatever_the_rows_hold():
    message = str(refusal(f"SKU;Bilder;Preis\n1;{A}, {A}, {A}, {A};3,50\n"))

    assert "found the headers 'SKU', 'Bilder', 'Preis'" in message


def test_the_names_of_image_columns_stand_in_the_docs():
    docs = " ".join((PROJECT_DIR / "docs" / "api.md").read_text().split())

    names = (*columns._IMAGE_HEADERS, *columns._LAST_RESORT_IMAGE_HEADERS)
    assert [name for name in names if f"`{name}`" not in docs] == []


def test_an_image_column_that_is_not_there_is_refused_by_name():
    assert str(refusal(f"SKU,Images\n1,{A}\n", image_columns=["Photo", "Images"])) == (
        "image_column 'Photo' is not among the headers: found 'SKU', 'Images'; "
        "write it as it stands in the file"
    )


def test_the_headers_in_a_refusal_are_cut_when_there_are_many():
    message = str(refusal(",".join(f"c{'x' * 1000}" for _ in range(200)) + "\n"))

    assert "and 150 more" in message
    assert len(message) < 5000


def test_a_file_without_one_valid_url_is_refused_with_its_faults():
    refused = refusal("SKU,Images\n1,a.jpg\n2,\n3,ftp://h.example.com/b.jpg\n")

    assert str(refused) == (
        "no valid image URL in 3 rows: correct the column 'Images', or name another with the "
        "option image_column"
    )
    assert [fault.row for fault in refused.faults] == [1, 3]
    assert refused.fault_count == 2


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_nul_byte_is_refused_with_its_line(encoding: str):
    message = str(refusal(f"SKU,Images\r\n1,{A}\r\n2é\0,{A}\r\n".encode(encoding)))

    assert message.startswith("line 3: the file holds a NUL byte")


def test_the_line_of_a_nul_byte_is_right_far_into_the_file():
    data = f"SKU,Images\r\n{'x' * 99},{A}\r\n".encode() * 20_000 + b"\0"

    assert str(refusal(data)).startswith("line 40001: the file holds a NUL byte")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"Images\nx\n\xff\x81\n", "line 3: the file is not text in UTF-8 or Windows-1252"),
        (codecs.BOM_UTF8 + b"Images\r\n\xe9\r\n", "line 2: the file is not text in UTF-8:"),
        ("Images\n".encode("utf-16") + b"\x00\xd8\x41", "line 2: the file is not text in UTF-16"),
    ],
)
def test_what_is_not_text_is_refused_with_its_line(data: bytes, message: str):
    assert str(refusal(data)).startswith(message)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (f'SKU,Images\n1,{A}\n2,"{A}\n3,{A}\n', 3),
        (f'SKU,Images\n1,{A}\n2,"{A}', 3),
        (f'SKU,Images\r\n"a\r\nb","{A}\r\n\r\n3,{A}\r\n', 3),
        (f'SKU,Images\n1,{A}\n2,"', 3),
        (f'sep=,\nSKU,Images\n1,"{A}\n\n', 3),
        (f'Report\nSKU,"Name,Images\n1,Mug,{A}\n', 2),
    ],
)
def test_a_quote_that_never_closes_is_refused_with_the_line_where_it_opens(data: str, line: int):
    assert str(refusal(data)).startswith(f'line {line}: a quote (") opens here and never closes')


def test_an_open_quote_does_not_read_the_rest_of_a_large_file(monkeypatch):
    monkeypatch.setattr(table, "MAX_RECORD_CHARACTERS", 200_000)
    file = io.BytesIO(f'SKU,Images\n1,{A}\n2,"x\n'.encode() + f"3,{A}\n".encode() * 200_000)

    with open_catalog(file) as catalog, pytest.raises(BadCatalog, match="line 3: a quote"):
        list(catalog.rows())

    assert file.tell() < 500_000


def test_a_line_without_end_is_refused_before_it_is_read_whole(monkeypatch):
    monkeypatch.setattr(table, "MAX_RECORD_CHARACTERS", 200_000)
    file = io.BytesIO(f"SKU,Images\n1,{A}\n".encode() + b"x" * 4_000_000)

    with open_catalog(file) as catalog, pytest.raises(BadCatalog) as refused:
        list(catalog.rows())

    assert str(refused.value).startswith("line 3 is longer than 200,000 characters")
    assert file.tell() < 500_000


def test_more_rows_than_allowed_are_refused_with_the_line():
    data = f"Images\n{A}\n\n{A}\n{A}\n"

    with open_catalog(io.BytesIO(data.encode()), max_rows=3) as catalog:
        assert len(list(catalog.rows())) == 3
    assert str(refusal(data, max_rows=2)) == "line 5: more than 2 rows: split the file"
