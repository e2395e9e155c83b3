"""Accepting a very large CSV, beside the least that anybody could do with it.

That is csv.reader and insert_many of the very documents that the service stores, a thousand at a
time as the service does, on the same server with the same indexes and the same write concern.
"""

import csv
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from app.database import connect
from app.database.documents import document_of_row
from app.database.private_server import PrivateServer
from app.models import ImageUrl
from app.models import Row as CatalogRow
from benchmarks import usage
from benchmarks.bench import Bench
from benchmarks.memory import MOST_MB, wait_until_idle
from benchmarks.report import Row, row
from benchmarks.runs import NotMeasured, Run
from benchmarks.service import running

URLS_A_ROW = 3
IMAGE_COLUMN = "Input Image Urls"
INSERT_ROWS = 1_000
DATABASE = "reference"
SERVICE = "POST /upload"
REFERENCE = "csv.reader and insert_many"


def accepting(bench: Bench) -> list[Row]:
    catalog = _catalog(bench.folder, bench.scale.accepted_rows)
    rows = bench.scale.accepted_rows
    rates = bench.in_turns(
        "accepting",
        {
            SERVICE: partial(_upload, bench, catalog, rows),
            REFERENCE: partial(_insert, bench, catalog, rows),
        },
    )
    what = f"a CSV of {rows:,} rows"
    seconds = [f"{rows / rates[party].median:.1f} s" for party in (SERVICE, REFERENCE)]
    return [
        row(
            f"{what}: upload to 202, against csv.reader and insert_many",
            lambda: rates[REFERENCE].median / rates[SERVICE].median,
            unit="×",
            at_most=1.5,
            note=f"{seconds[0]} against {seconds[1]}; {URLS_A_ROW} URLs a row, "
            f"{catalog.stat().st_size / 1e6:.0f} MB",
        ),
        row(
            f"{what}: memory over idle",
            lambda: rates[SERVICE].median_of("peak_over_idle_mb"),
            unit=" MB",
            at_most=MOST_MB,
        ),
    ]


def _catalog(folder: Path, rows: int) -> Path:
    """Its URLs' host refuses at once: what matters is over before the first is fetched."""
    path = folder / f"catalog-{rows}.csv"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        with unfinished.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["S. No.", "Product Name", IMAGE_COLUMN])
            writer.writerows(
                [number, f"Product {number}", ",".join(_urls(number))]
                for number in range(1, rows + 1)
            )
        unfinished.rename(path)
    return path


def _urls(number: int) -> list[str]:
    return [f"http://127.0.0.1:9/images/{number}/{slot}.jpg" for slot in range(URLS_A_ROW)]


def _upload(bench: Bench, catalog: Path, rows: int) -> Run:
    with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
        wait_until_idle(bench, service)
        idle_mb = usage.resident_mb(service.pid)
        upload = service.prepared_upload(catalog.read_bytes())
        began = time.perf_counter()
        service.send(upload)
        seconds = time.perf_counter() - began
        peak_mb = usage.peak_mb(service.pid) - idle_mb
    return Run(rows, seconds, {"peak_over_idle_mb": round(peak_mb, 1)})


def _insert(bench: Bench, catalog: Path, rows: int) -> Run:
    _check_documents()
    with bench.fresh_folder() as folder:
        server = PrivateServer(folder)
        database = connect(server.start(), DATABASE)  # makes the indexes
        try:
            products = database.client[DATABASE]["products"]
            began = time.perf_counter()
            with catalog.open(newline="") as file:
                documents = _documents(csv.reader(file))
                while group := list(islice(documents, INSERT_ROWS)):
                    products.insert_many(group, ordered=False)
            seconds = time.perf_counter() - began
        finally:
            database.close()
            server.stop()
    return Run(rows, seconds)


def _documents(reader: Any) -> Iterator[dict[str, Any]]:
    next(reader)
    for number, (serial_number, name, cell) in enumerate(reader, 1):
        urls = cell.split(",")
        yield {
            "request_id": "00000000-0000-4000-8000-000000000000",
            "row": number,
            "serial_number": serial_number,
            "product_name": name,
            "input_urls": urls,
            "output_urls": [None] * len(urls),
            "images": [{"url": url, "column": IMAGE_COLUMN, "status": "pending"} for url in urls],
        }


def _check_documents() -> None:
    """Raises NotMeasured when the service has come to store other documents."""
    ours = next(_documents(iter([[], ["1", "Product 1", ",".join(_urls(1))]])))
    slots = tuple(ImageUrl(url, IMAGE_COLUMN) for url in _urls(1))
    theirs = document_of_row(ours["request_id"], CatalogRow(1, 2, (), "1", "Product 1", slots))
    if ours != theirs:
        raise NotMeasured("the service stores other documents than benchmarks/accepting.py")
