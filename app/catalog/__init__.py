"""Uploaded files → rows, and results → files (contract section 2).

Called by intake (reads an upload, stores its rows), by the pipeline (writes the output from the
stored upload and the results) and by the terminal client.

A file is read in two steps that know nothing of each other: `encodings` and `table` turn bytes
into a table of cells with line numbers; `columns`, `cells`, `urls` and `reading` turn cells into
`Row`s. `writing` goes back to bytes, `workbook_writing` to those of Excel. An uploaded workbook is
made CSV by `sheets` before anything else happens to it.
"""

from app.catalog.columns import Column, Columns
from app.catalog.reading import Catalog, open_catalog
from app.catalog.sheets import SheetReader, is_workbook
from app.catalog.table import Dialect
from app.catalog.urls import BadUrl, absolute_url
from app.catalog.workbook_writing import write_workbook
from app.catalog.writing import (
    output_records,
    preamble_records,
    replaced_records,
    write_output,
    write_replaced,
)

__all__ = [
    "BadUrl",
    "Catalog",
    "Column",
    "Columns",
    "Dialect",
    "SheetReader",
    "absolute_url",
    "is_workbook",
    "open_catalog",
    "output_records",
    "preamble_records",
    "replaced_records",
    "write_output",
    "write_replaced",
    "write_workbook",
]
