"""Uploaded files → rows, and results → files (contract section 2).

Called by intake (reads an upload, stores its rows), by the pipeline (writes the output from the
stored upload and the results) and by the terminal client.

A file is read in two steps that know nothing of each other: `encodings` and `table` turn bytes
into a table of cells with line numbers; `columns`, `cells`, `urls` and `reading` turn cells into
`Row`s. `writing` goes back to bytes.
"""

from app.catalog.columns import Column, Columns
from app.catalog.reading import Catalog, open_catalog
from app.catalog.table import Dialect
from app.catalog.urls import BadUrl, absolute_url
from app.catalog.writing import write_output, write_replaced

__all__ = [
    "BadUrl",
    "Catalog",
    "Column",
    "Columns",
    "Dialect",
    "absolute_url",
    "open_catalog",
    "write_output",
    "write_replaced",
]
