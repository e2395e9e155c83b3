"""Workbooks → the table that a CSV of them would give; and what of them is refused."""

import io
import struct
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from subprocess import PIPE

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog import SheetReader, is_workbook, open_catalog, sheet_reader, write_workbook
from app.catalog.sheet_reader import cell_text, write_first_sheet
from app.catalog.sheets import REFUSED
from app.errors import BadCatalog, Unavailable
from tests.workbooks import archive, by_hand, cell, workbook

URL = "https://h.example.com/a.jpg"
bounded = settings(max_examples=60, deadline=None)


def converted(data):
    """What the reader makes of a workbook, without a process of its own."""
    target = io.BytesIO()
    write_first_sheet(io.BytesIO(data), target)
    target.seek(0)
    return target


def catalog_of(data, **options):
    return open_catalog(converted(data), is_sheet=True, **options)


def rows_of(data):
    with catalog_of(data) as catalog:
        return list(catalog.rows())


def refusal(data, read=rows_of):
    with pytest.raises(BadCatalog) as refused:
        read(data)
    return str(refused.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("00123", "00123"),
        (" as it is ", " as it is "),
        (4006381333931.0, "4006381333931"),
        (1234567890123456789.0, "1234567890123456800"),
        (1e300, "1e+300"),
        (0.0, "0"),
        (-0.0, "0"),
        (-7.0, "-7"),
        (7, "7"),
        (19.989999999999998, "19.99"),
        (0.1 + 0.2, "0.3"),
        (-1.5, "-1.5"),
        (True, "TRUE"),
        (False, "FALSE"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime.fromisoformat("2026-01-31T10:05:06"), "2026-01-31T10:05:06"),
        (time(10, 5), "10:05:00"),
        (timedelta(hours=30, minutes=5), "30:05:00"),
        (-timedelta(minutes=90), "-1:30:00"),
    ],
)
def test_a_cell_is_what_people_would_write(value, text):
    assert cell_text(value) == text


def test_numbers_dates_and_formulas_survive_the_file():
    def fill(book, sheet):
        sheet.write_datetime(1, 4, date(2026, 1, 31), book.add_format({"num_format": "d.m.yy"}))
        sheet.write_formula(1, 5, "=1+1", None, 2)
        sheet.write_boolean(1, 6, True)

    header = ["EAN", "Images", "SKU", "Price", "Since", "Sum", "New"]
    data = workbook([header, [4006381333931, URL, "007", 19.99]], fill=fill)

    (row,) = rows_of(data)
    assert row.cells == ("4006381333931", URL, "007", "19.99", "2026-01-31", "2", "TRUE")
    assert [image.url for image in row.urls] == [URL]


def test_lines_are_the_rows_of_the_sheet_whatever_stands_in_them():
    data = workbook(
        [["My shop"], [], ["SKU", "Images"], ["1\n2\n3", URL], [], ["2", "ftp://h/a.jpg"]]
    )

    with catalog_of(data) as catalog:
        rows = list(catalog.rows())
    assert [(row.number, row.line) for row in rows] == [(1, 4), (2, 6)]
    assert [fault.line for fault in catalog.faults] == [6]
    assert [record.cells for record in catalog.preamble] == [("My shop", ""), ("", "")]


def test_empty_rows_and_columns_at_the_end_are_dropped():
    def fill(book, sheet):
        sheet.write_formula(0, 5, '=""', None, "")
        sheet.write_blank(9, 9, None, book.add_format({"bold": True}))

    with catalog_of(workbook([["SKU", "Images"], ["1", URL]], fill=fill)) as catalog:
        assert catalog.header == ("SKU", "Images")
        assert [row.cells for row in catalog.rows()] == [("1", URL)]


def test_a_column_without_a_header_is_carried_along():
    (row,) = rows_of(workbook([["SKU", "Images"], ["1", URL, "a note"]]))

    assert (row.cells, row.faults) == (("1", URL, "a note"), ())


def test_text_that_would_confuse_a_csv_does_not():
    header = ["Images", "a;Images;c;d", "sep=;"]

    with catalog_of(workbook([header, [URL, 'x"y', "1,2"]])) as catalog:
        assert catalog.header == tuple(header)
        assert [row.cells for row in catalog.rows()] == [(URL, 'x"y', "1,2")]


def test_the_first_sheet_that_can_be_seen_is_read():
    def fill(book, sheet):
        book.add_worksheet().activate()
        book.get_worksheet_by_name("Sheet2").write_row(0, 0, ["Images"])
        book.get_worksheet_by_name("Sheet2").write_row(1, 0, [URL])
        sheet.hide()

    (row,) = rows_of(workbook([["Image"], ["hidden"]], fill=fill))

    assert row.cells == (URL,)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufffe\uffff"))
values = st.one_of(texts, texts, st.sampled_from(["007", "1.0", "=1", "_x000D_", "<r></r>"]))


@bounded
@given(st.lists(st.tuples(values, values), min_size=1, max_size=5))
def test_every_text_survives_a_workbook(found):
    records = [["SKU", "Images", "Text"], *([f"n{a}", URL, b] for a, b in found)]
    with write_workbook([], records) as file:
        data = file.read()

    # the last column is not there when no row has anything in it, but its header is
    assert [list(row.cells) for row in rows_of(data)] == records[1:]


@bounded
@given(st.integers(0, 10**15 - 1), st.integers(0, 99_999))
def test_every_number_that_excel_can_hold_survives_a_workbook(whole, cents):
    (row,) = rows_of(workbook([["Images", "EAN", "Price"], [URL, whole, cents / 100]]))

    assert row.cells[1] == str(whole)
    assert float(row.cells[2]) == cents / 100


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (workbook([]), "the first sheet is empty"),
        (workbook([["", " "]]), "the first sheet is empty"),
        (workbook([["SKU", "Foto"], ["1", URL]]), "no image column in the first 5 lines"),
        (workbook([["Images"]]), "line 1: there is a header but no row below it"),
        (workbook([["Images"], ["a\0b"]]), "NUL byte"),
        (archive([("a.csv", "Images\n")]), "a ZIP archive, but no Excel workbook"),
        (archive([("xl/workbook.bin", "")]), "a binary workbook (.xlsb)"),
        (archive([("xl/workbook.xml", "<a")]), "the workbook is damaged"),
        (b"PK\x03\x04" + bytes(100), "the workbook is damaged"),
        (workbook([["Images"], [URL]])[:-200], "the workbook is damaged"),
    ],
)
def test_a_workbook_without_a_table_says_what_to_do(data, message):
    assert message in refusal(data)


def test_a_workbook_without_a_sheet_to_see_is_refused():
    data = workbook([["Images"], [URL]])
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        entries = {name: found.read(name) for name in found.namelist()}
    book = entries["xl/workbook.xml"]
    entries["xl/workbook.xml"] = book.replace(b"<sheet ", b'<sheet state="hidden" ')

    assert "no sheet that can be seen" in refusal(archive(entries.items()))


@pytest.mark.parametrize("flags", [struct.pack("<H", 1), struct.pack("<H", 0x0801)])
def test_an_encrypted_entry_is_refused(flags):
    data = bytearray(archive([("xl/workbook.xml", "<a/>")]))
    at = data.index(b"PK\x01\x02") + 8
    data[at : at + 2] = flags

    assert "the workbook is damaged" in refusal(bytes(data))


def test_a_compression_that_excel_does_not_know_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("xl/workbook.xml", "<a/>")

    assert "the workbook is damaged" in refusal(file.getvalue())


WHOLE = workbook([["Images"], [URL]])
"""Made once: it holds the time, and an example that is tried again must find the same bytes."""


@bounded
@given(st.data())
def test_whatever_is_damaged_is_refused_or_harmless(data):
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        # most of what can be wrong stands in the directory, at the end
        at = data.draw(st.integers(1, len(damaged)) | st.integers(1, 600))
        damaged[-at] = data.draw(st.sampled_from([0, 1, 127, 255]) | st.integers(0, 255))

    with suppress(BadCatalog):
        sheet_reader.check_sizes(io.BytesIO(damaged))


# Bombs


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(sheet_reader, "MAX_UNPACKED_BYTES", 1 << 20)


def test_what_unpacks_to_too_much_is_refused_with_the_limit(small_limit):
    data = by_hand("", others=[("xl/media/a.bin", bytes(2 << 20))])

    assert refusal(data) == (
        "the workbook unpacks to more than 1 MiB: save its first sheet as CSV UTF-8, which may be "
        "longer"
    )


def test_a_size_that_is_a_lie_is_not_believed(small_limit):
    data = by_hand("", others=[("xl/media/a.bin", bytes(2 << 20))])
    told = struct.pack("<L", 2 << 20)
    assert data.count(told) == 2

    assert "unpacks to more than 1 MiB" in refusal(data.replace(told, struct.pack("<L", 100)))


def test_many_entries_are_too_many_together(small_limit):
    data = by_hand("", others=[(f"xl/media/{n}.bin", bytes(100_000)) for n in range(20)])

    assert "unpacks to more than 1 MiB" in refusal(data)


def test_more_files_than_a_workbook_has_are_refused(monkeypatch):
    monkeypatch.setattr(sheet_reader, "MAX_ENTRIES", 10)

    assert "holds more than 10 files" in refusal(
        by_hand("", others=[(str(n), "") for n in range(10)])
    )


# In a process of its own


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where scratch files lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def read(data):
    """The rows, as the service reads them."""
    with (
        SheetReader().as_csv(io.BytesIO(data)) as sheet,
        open_catalog(sheet, is_sheet=True) as catalog,
    ):
        return list(catalog.rows())


def test_a_workbook_is_read_and_nothing_is_left_of_it(folder):
    (row,) = read(workbook([["Images"], [URL]]))

    assert row.cells == (URL,)
    assert list(folder.iterdir()) == []


def test_a_refusal_comes_back_from_the_process():
    assert "a ZIP archive, but no Excel workbook" in refusal(archive([("a", "")]), read)


def test_two_cells_that_span_the_whole_sheet_kill_nobody():
    far = f'<row r="1048576">{cell("XFD1048576", "z")}</row>'
    data = by_hand(f'<row r="1">{cell("A1", "Images")}</row>{far}')

    assert "within 1,024 MiB of memory" in refusal(data, read)


def test_entities_that_multiply_are_not_expanded():
    doctype = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(20))
    doctype = f'<!DOCTYPE worksheet [<!ENTITY e0 "{"a" * 100}">{doctype}]>'
    rows = f'<row r="1">{cell("A1", "Images")}</row><row r="2">{cell("A2", "&e20;")}</row>'

    assert "the workbook is damaged" in refusal(by_hand(rows, doctype=doctype), read)


def test_more_text_than_may_be_written_is_too_large(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(workbook([["Images"], ["a" * 30_000]]))
    code = f"{sheet_reader.__name__} as r; r.MAX_CSV_BYTES = 1_000; raise SystemExit(r.main())"

    with (tmp_path / "a.xlsx").open("rb") as book, (tmp_path / "a.csv").open("wb") as sheet:
        ended = subprocess.run(
            [sys.executable, "-c", f"import {code}"], stdin=book, stdout=sheet, stderr=PIPE
        )

    assert ended.returncode == REFUSED
    assert b"the workbook holds too much text: save its first sheet as CSV UTF-8" in ended.stderr


def test_only_a_few_are_read_at_once(monkeypatch):
    monkeypatch.setattr("app.catalog.sheets.PATIENCE_SECONDS", 0.01)

    reading = SheetReader(at_once=0).as_csv(io.BytesIO(b""))
    with pytest.raises(Unavailable, match="too many workbooks"), reading:
        pass


def test_what_a_file_is_is_told_from_its_bytes():
    assert is_workbook(io.BytesIO(workbook([["Images"]])))
    assert not is_workbook(io.BytesIO(b"PK,Images\n"))
    assert not is_workbook(io.BytesIO(b""))


def test_old_and_encrypted_workbooks_are_refused_with_what_to_do():
    with pytest.raises(BadCatalog, match=r"old Excel workbook \(.xls\), or one that a password"):
        is_workbook(io.BytesIO(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504)))
