"""Results as files for the caller: the uploaded table read again, joined with what was recorded.

Called by the pipeline for the output CSV, and by the API for what it serves besides.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import BinaryIO

from app.archive import Member, portable_name, write_archive
from app.catalog import (
    Catalog,
    open_catalog,
    output_records,
    preamble_records,
    replaced_records,
    write_output,
    write_replaced,
    write_workbook,
)
from app.database import Database
from app.errors import NotFound
from app.models import Batch, Product
from app.scratch import disk_errors, scratch_file
from app.storage import Storage

PAGE_ROWS = 1_000
MISSING = "missing.txt"


class Exports:
    """Writes a batch's results, streaming: memory stays flat for any number of rows of a table."""

    def __init__(self, database: Database, storage: Storage, *, base_url: str, images_url: str):
        self._database = database
        self._storage = storage
        self._base_url = base_url
        self.images_url = images_url

    def link(self, key: str) -> str:
        """The public URL of an image, by its storage key."""
        return f"{self.images_url}/{key}"

    def api_link(self, path: str) -> str:
        """The URL of something that the API answers."""
        return f"{self._base_url}/{path}"

    def stored_csv(self, batch: Batch) -> BinaryIO | None:
        """The output CSV as it was stored at the end, if its URLs begin as they would at present.

        Raises NotFound when it should be there and is not.
        """
        if batch.output_csv_path is None or batch.output_base_url != self.images_url:
            return None
        return self._storage.open(batch.output_csv_path)

    def output_csv(
        self,
        batch: Batch,
        *,
        formulas_safe: bool = False,
        rows: range | None = None,
        link: Callable[[str], str] | None = None,
    ) -> Iterator[bytes]:
        """The input's columns and ours, as things stand now; chunks of a file, or of some rows.

        `link` says what the slots hold, in place of public URLs.
        """
        products = self._database.products.iterate(batch.request_id, rows)
        with self._open(batch) as catalog:
            yield from write_output(
                catalog, products, link or self.link, formulas_safe=formulas_safe, rows=rows
            )

    def replaced_csv(self, batch: Batch, *, formulas_safe: bool = False) -> Iterator[bytes]:
        """The input's own columns, each image URL exchanged for its output URL."""
        products = self._database.products.iterate(batch.request_id)
        with self._open(batch) as catalog:
            yield from write_replaced(catalog, products, self.link, formulas_safe=formulas_safe)

    def workbook(
        self, batch: Batch, *, is_replaced: bool = False, formulas_safe: bool = False
    ) -> BinaryIO:
        """The same as an Excel workbook, which the caller closes.

        Raises BadRequest for what no workbook can hold.
        """
        products = self._database.products.iterate(batch.request_id)
        read = replaced_records if is_replaced else output_records
        with self._open(batch) as catalog:
            above = list(preamble_records(catalog, formulas_safe=formulas_safe))
            return write_workbook(
                above, read(catalog, products, self.link, formulas_safe=formulas_safe)
            )

    def images_zip(self, batch: Batch, rows: range | None = None) -> Iterator[bytes]:
        """The output CSV and every compressed image once, or those of some rows; chunks of a ZIP.

        An image whose file is gone is named in `missing.txt`, the last entry. Raises NotFound when
        the request is deleted meanwhile, so that a part is never taken for the whole. Memory: 500
        bytes an image (200,000 measured), for the ZIP's directory and to know each image again.
        """
        modified_at = batch.completed_at or datetime.now(UTC)
        return write_archive(self._members(batch, rows), modified_at)

    def _members(self, batch: Batch, rows: range | None) -> Generator[Member, None, None]:
        part = f"-rows-{rows[0]}-{rows[-1]}" if rows else ""
        with self._spooled_csv(batch, rows) as csv:
            yield Member(portable_name(batch.stem, f"-compressed{part}.csv"), csv)
        missing = []
        paths = self._find_paths(batch, rows or range(1, batch.rows + 1))
        with closing(self._storage.open_each(paths)) as opened:
            for path, file in opened:
                name = path.rpartition("/")[2]
                if file is None:
                    missing.append(name)
                    continue
                with file:
                    yield Member(name, file)
        if missing:
            text = "These images were made, but their files are gone:\r\n"
            yield Member(MISSING, BytesIO((text + "\r\n".join(missing) + "\r\n").encode()))

    def _find_paths(self, batch: Batch, rows: range) -> Iterator[str]:
        """Each image once, though many slots may name it."""
        seen = set()
        for product in self._products(batch, rows):
            for image in product.images:
                path = image.result.path
                if path and path not in seen:
                    seen.add(path)
                    yield path

    def _products(self, batch: Batch, rows: range) -> Iterator[Product]:
        """A page at a time: a client may take hours, and the server forgets an idle cursor."""
        for first in range(rows[0], rows[-1] + 1, PAGE_ROWS):
            page = range(first, min(first + PAGE_ROWS, rows[-1] + 1))
            products = list(self._database.products.iterate(batch.request_id, page))
            if len(products) < len(page):
                raise NotFound(f"request {batch.request_id} was deleted meanwhile")
            yield from products

    @contextmanager
    def _spooled_csv(self, batch: Batch, rows: range | None) -> Iterator[BinaryIO]:
        """The output CSV as a file, since a ZIP says how long it is before it comes."""
        stored = None if rows else self.stored_csv(batch)
        with stored or scratch_file() as file:
            if not stored:
                with disk_errors():
                    file.writelines(self.output_csv(batch, rows=rows))
            yield file

    @contextmanager
    def _open(self, batch: Batch) -> Iterator[Catalog]:
        options = batch.options
        with (
            self._storage.open(batch.upload_path) as file,
            open_catalog(
                file,
                image_columns=options.image_columns,
                base_url=options.base_url,
                max_rows=batch.rows,
                is_sheet=batch.is_sheet,
            ) as catalog,
        ):
            yield catalog
