"""Records → a workbook: every cell the same text, whatever it is, and no formula or link."""

import gc
import re
import resource
import tempfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from app.catalog import workbook_writing, write_workbook
from app.errors import BadRequest, StorageUnavailable

bounded = settings(max_examples=60, deadline=None)

NOT_IN_XML = "\ufffe\uffff"  # Excel has a way to write them, but calamine does not read it
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=NOT_IN_XML), max_size=12),
    st.text(st.sampled_from("=+-@\t\r\n <>&\"'_x0DF\x01\x0b"), max_size=12),
    st.sampled_from(["_x000D_", "<r><t>&</t></r>", "<r></r>", "=1+1", "007", "1.0", "TRUE"]),
    st.sampled_from(["http://h/a.jpg", "internal:Sheet1!A1", "4006381333931", "{=1+1}", "\x00"]),
)
filled = texts.filter(bool)


def rows_of(file):
    with file:
        sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
        return list(sheet.iter_rows())


def xml_of(file, name="xl/worksheets/sheet1.xml"):
    with file, zipfile.ZipFile(file) as found:
        assert found.testzip() is None
        return found.read(name).decode()


@bounded
@given(st.lists(st.tuples(filled, texts, filled), min_size=1, max_size=6), st.tuples(filled))
def test_every_cell_is_read_as_it_was_written(records, above):
    found = rows_of(write_workbook([above], records))

    assert found == [[*above, "", ""], *map(list, records)]


def test_cells_are_text_and_neither_formulas_nor_links():
    cells = ["=1+1", "http://h.example.com/a.jpg", "{=1}", "mailto:a@b.c", "+1", "4006381333931"]
    xml = xml_of(write_workbook([], [cells, cells]))

    assert not re.search(r"<(f|v|hyperlink)[ >]", xml)
    assert xml.count('t="inlineStr"') == 2 * len(cells)


def test_a_text_that_looks_like_xml_of_excel_is_a_text():
    xml = xml_of(write_workbook([], [["<r><t>a</t></r><f>1</f></r>"]]))

    assert "<f>" not in xml


def test_more_urls_than_a_sheet_may_have_links_are_all_there():
    records = [[f"https://h.example.com/{row}.jpg"] for row in range(70_000)]

    found = rows_of(write_workbook([], records))

    assert found == records


@pytest.mark.parametrize("cell", ["a" * 32_767, "😀" * 16_383])
def test_the_longest_cell_that_excel_takes_is_written(cell):
    assert rows_of(write_workbook([], [["SKU"], [cell]])) == [["SKU"], [cell]]


@pytest.mark.parametrize(("cell", "size"), [("a" * 32_768, "32,768"), ("😀" * 16_384, "32,768")])
def test_a_longer_one_is_refused_with_its_place_and_never_cut(cell, size):
    with pytest.raises(BadRequest) as refused:
        write_workbook([], [["SKU", "Text"], ["1", "a"], ["2", cell]])

    assert str(refused.value) == (
        f"row 2, column 'Text': the cell has {size} characters, one of Excel 32,767; "
        "take the CSV, without format=xlsx"
    )


def test_more_rows_or_columns_than_a_sheet_has_are_refused(monkeypatch):
    monkeypatch.setattr(workbook_writing, "MAX_ROWS", 3)

    with pytest.raises(BadRequest, match="ends before row 2 of the output"):
        write_workbook([["title"]], [["SKU"], ["1"], ["2"]])
    with pytest.raises(BadRequest, match=r"16,385 columns"):
        write_workbook([], [["a"] * 16_385])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where scratch files lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_nothing_is_left_of_it_written_or_refused(folder):
    write_workbook([], [["SKU"], ["1"]]).close()
    with pytest.raises(BadRequest):
        write_workbook([], [["SKU"], ["a" * 40_000]])

    assert list(folder.iterdir()) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves its files open then
def test_a_full_disk_is_nobodys_fault(folder):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    records = ([f"{row}" * 1_000] for row in range(1_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(StorageUnavailable):
            write_workbook([], records)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    gc.collect()

    assert list(folder.iterdir()) == []
