"""For all files: rows, order, values and slots survive writing, and an output is read again."""

import csv
import io
import re
from dataclasses import dataclass

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.catalog import absolute_url, open_catalog, write_output, write_replaced
from app.catalog.cells import url_at, url_places
from app.catalog.urls import PLAIN_URL, BadUrl
from app.models import Image, ImageError, ImageResult, ImageStatus, Product, Row

bounded = settings(max_examples=150, deadline=None)

CP1252 = "".join(
    character
    for character in bytes(set(range(1, 256)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D}).decode("cp1252")
)
values = st.one_of(
    st.text(st.sampled_from(" \",;|\t\r\n'=+-@aé€\u00a0"), max_size=8),
    st.text(st.sampled_from(CP1252), max_size=8),
)
paths = st.text(st.sampled_from("ab/é _-.,;|%&=~"), max_size=8).map(
    lambda path: re.sub("/+", "/", f"/{path}x.jpg")  # `,//x.y/` would begin another URL
)
urls = st.builds(
    lambda scheme, path: f"{scheme}://h.example.com{path}",
    st.sampled_from(["http", "https", "HTTPS"]),
    paths,
)
separators = st.sampled_from([",", "|", ";", " ", ", ", " | ", "\n", ",,", ";\r\n"])
results = st.sampled_from(
    [
        ImageResult(ImageStatus.COMPLETED, "processed/r/a.jpg"),
        ImageResult(ImageStatus.COMPLETED, "processed/r/b c.jpg"),
        ImageResult(ImageStatus.FAILED, error=ImageError("dns", 'no "host"\n, none', False)),
        ImageResult(ImageStatus.CANCELLED, error=ImageError("cancelled", "", False)),
        ImageResult(ImageStatus.PENDING),
    ]
)


@st.composite
def image_cells(draw) -> tuple[str, list[str]]:
    """A cell and the URLs in it."""
    found = draw(st.lists(urls, max_size=4))
    cell = draw(st.sampled_from(["", " "]))
    for place, url in enumerate(found):
        cell += (draw(separators) if place else "") + url
    return cell, found


@dataclass(frozen=True)
class Case:
    """A file, what is in it, and what became of its images."""

    data: bytes
    delimiter: str
    line_end: str
    header: list[str]
    rows: list[list[str]]
    urls: list[list[str]]
    outcomes: list[list[ImageResult]]
    above: str


@st.composite
def cases(draw) -> Case:
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    header = ["SKU", "Images", *draw(st.sampled_from([[], ["Status"], ["Notes", "error"]]))]
    header.append("Image Src 2")
    records, found = [], []
    for _ in range(draw(st.integers(1, 5))):
        first, first_urls = draw(image_cells())
        last, last_urls = draw(image_cells())
        others = [draw(values) for _ in header[2:-1]]
        # a row is never blank, and its number begins like no other cell
        records.append([f"n{draw(values)}", first, *others, last])
        found.append([*first_urls, *last_urls])
    records.append(["last", "https://h.example.com/last.jpg", *([""] * (len(header) - 2))])
    found.append(["https://h.example.com/last.jpg"])
    above = draw(st.sampled_from(["", f"sep={delimiter}{line_end}", f"My shop{line_end}"]))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
    writer.writerows(
        # csv.writer leaves a lone CR or LF bare where the line end lacks it, so it writes CRLF and
        # each record's own end is exchanged here
        [header, *records]
    )
    data = (above + _with_line_end(text.getvalue(), line_end)).encode(encoding)
    assume(encoding != "cp1252" or data.isascii() or not _is_utf_8(data))
    return Case(
        data,
        delimiter,
        line_end,
        header,
        records,
        found,
        [[draw(results) for _ in row] for row in found],
        above,
    )


def _is_utf_8(data: bytes) -> bool:
    """Then nobody can tell that Windows-1252 was meant."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _with_line_end(text: str, line_end: str) -> str:
    """Exchange the CRLF outside quotes."""
    parts = text.split('"')
    parts[::2] = [part.replace("\r\n", line_end) for part in parts[::2]]
    return '"'.join(parts)


def link(path: str) -> str:
    return "https://pressroom.example.com/" + path.replace(" ", "%20")


def products(case: Case) -> list[Product]:
    return [
        Product(number, tuple(Image(url, "", r) for url, r in zip(found, outcome, strict=True)))
        for number, (found, outcome) in enumerate(
            zip(case.urls, case.outcomes, strict=True), start=1
        )
    ]


def slot(result: ImageResult) -> str:
    return link(result.path) if result.path else ""


def written(write, data: bytes, case: Case) -> bytes:
    with open_catalog(io.BytesIO(data)) as catalog:
        return b"".join(write(catalog, products(case), link))


def rows_of(data: bytes) -> list[Row]:
    with open_catalog(io.BytesIO(data)) as catalog:
        return list(catalog.rows())


def table_of(data: bytes, case: Case) -> list[list[str]]:
    """The header and all below it, by another reader than ours."""
    text = data.decode("utf-8-sig")
    assert text.startswith(case.above)
    lines = io.StringIO(text[len(case.above) :], newline="")
    return list(csv.reader(lines, delimiter=case.delimiter, strict=True))


@bounded
@given(cases())
def test_every_row_and_value_is_read(case: Case):
    rows = rows_of(case.data)

    assert [list(row.cells) for row in rows] == case.rows
    assert [row.number for row in rows] == list(range(1, len(case.rows) + 1))
    assert [[image.url for image in row.urls] for row in rows] == case.urls


@bounded
@given(cases())
def test_the_output_keeps_rows_values_and_slots(case: Case):
    header, *rows = table_of(written(write_output, case.data, case), case)

    width = len(case.header)
    assert header[: width + 1] == [*case.header, "Output Image Urls"]
    assert [cells[:width] for cells in rows] == case.rows
    slots = [",".join(slot(result) for result in outcome) for outcome in case.outcomes]
    assert [cells[width] for cells in rows] == slots
    assert {len(cells) for cells in (header, *rows)} == {width + 3}


@bounded
@given(cases())
def test_an_output_read_again_has_its_columns_replaced_in_place(case: Case):
    once = written(write_output, case.data, case)

    assert rows_of(once)[0].urls == rows_of(case.data)[0].urls
    assert written(write_output, once, case) == once


@bounded
@given(cases())
def test_replacing_changes_completed_urls_and_nothing_else(case: Case):
    data = written(write_replaced, case.data, case)

    header, *rows = table_of(data, case)
    assert header == case.header
    others = slice(2, len(header) - 1)
    assert [(cells[0], cells[others]) for cells in rows] == [
        (cells[0], cells[others]) for cells in case.rows
    ]
    expected = [
        [slot(result) or url for url, result in zip(found, outcome, strict=True)]
        for found, outcome in zip(case.urls, case.outcomes, strict=True)
    ]
    assert [[image.url for image in row.urls] for row in rows_of(data)] == expected


@bounded
@given(cases())
def test_an_output_with_its_columns_taken_away_is_what_replacing_gives(case: Case):
    output = written(write_output, case.data, case)

    assert written(write_replaced, output, case) == written(write_replaced, case.data, case)


@bounded
@given(st.text(st.sampled_from(" ,|;\t\n\\/:ahtps.é"), max_size=30), st.booleans())
def test_the_places_of_urls_lie_apart_and_leave_only_separators(cell: str, relative: bool):
    places = url_places(cell, relative=relative)

    end_of_last = 0
    for start, end in [*places, (len(cell), len(cell))]:
        assert end_of_last <= start <= end
        assert not cell[end_of_last:start].strip(",|; \t\n")
        end_of_last = end
    assert all(url_at(cell, place).strip() for place in places)


@bounded
@given(st.one_of(urls, st.text(max_size=40).map(lambda text: f"https://{text}")))
def test_a_url_to_fetch_is_ascii_and_stays_as_it_is(url: str):
    try:
        fetched = absolute_url(url, None)
    except BadUrl:
        return

    assert fetched.isascii()
    assert " " not in fetched
    assert absolute_url(fetched, None) == fetched


@bounded
@given(st.from_regex(PLAIN_URL, fullmatch=True))
def test_a_plain_url_is_one_place_of_its_cell(url: str):
    assert url_places(url, relative=True) == url_places(url, relative=False) == [(0, len(url))]
