"""Results as files for the caller: the uploaded table read again, joined with what was recorded.

Called by the pipeline for the output CSV, and by the API for what it serves besides.
"""

from collections.abc import Callable, Iterator

from app.catalog import open_catalog, write_output, write_replaced
from app.database import Database
from app.models import Batch
from app.storage import Storage


class Exports:
    """Writes a batch's results, streaming: memory stays flat for any number of rows."""

    def __init__(self, database: Database, storage: Storage, base_url: str):
        self._database = database
        self._storage = storage
        self.base_url = base_url

    def link(self, key: str) -> str:
        """The public URL of a stored file."""
        return f"{self.base_url}/{key}"

    def output_csv(self, batch: Batch, *, formulas_safe: bool = False) -> Iterator[bytes]:
        """The input's columns and ours, as things stand now; chunks of a file."""
        return self._write(write_output, batch, formulas_safe)

    def replaced_csv(self, batch: Batch, *, formulas_safe: bool = False) -> Iterator[bytes]:
        """The input's own columns, each image URL exchanged for its output URL."""
        return self._write(write_replaced, batch, formulas_safe)

    def _write(
        self, write: Callable[..., Iterator[bytes]], batch: Batch, formulas_safe: bool
    ) -> Iterator[bytes]:
        options = batch.options
        products = self._database.products.iterate(batch.request_id)
        with (
            self._storage.open(batch.upload_path) as file,
            open_catalog(
                file,
                image_columns=options.image_columns,
                base_url=options.base_url,
                max_rows=batch.rows,
            ) as catalog,
        ):
            yield from write(catalog, products, self.link, formulas_safe=formulas_safe)
