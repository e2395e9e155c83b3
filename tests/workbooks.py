"""Workbooks for tests: as XlsxWriter writes them, or with XML that it would not write."""

import io
import re
import zipfile

from xlsxwriter import Workbook

_SHEET = "xl/worksheets/sheet1.xml"


def workbook(rows, *, fill=None):
    """The bytes of a workbook with these cells; `fill(book, sheet)` may add what it likes."""
    file = io.BytesIO()
    book = Workbook(file, {"strings_to_urls": False, "strings_to_formulas": False})
    sheet = book.add_worksheet()
    for line, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            sheet.write(line, column, cell)
    if fill:
        fill(book, sheet)
    book.close()
    return file.getvalue()


def by_hand(rows_xml, *, doctype="", others=()):
    """The bytes of a workbook whose sheet has these rows; `others` are more entries."""
    with zipfile.ZipFile(io.BytesIO(workbook([["x"]]))) as found:
        entries = {name: found.read(name).decode() for name in found.namelist()}
    xml = re.sub("<sheetData>.*</sheetData>", f"<sheetData>{rows_xml}</sheetData>", entries[_SHEET])
    entries[_SHEET] = xml.replace("<worksheet", f"{doctype}<worksheet", 1)
    return archive([*entries.items(), *others])


def archive(entries):
    """The bytes of a ZIP."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            made.writestr(name, content)
    return file.getvalue()


def cell(place, text):
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'
