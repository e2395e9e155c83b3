"""The uploaded tables of the trials, and what their outputs must say."""

import csv
import io
import re
from dataclasses import dataclass

REPEATED = "repeated"
"""The product name of rows whose URL stands in an earlier row too."""
KILLER = "killer"
"""The product name of rows whose image ends the process that codes it, where that is arranged."""


@dataclass(frozen=True)
class Catalogue:
    """`file` is the CSV, `images` counts its slots, `errors` says how many fail with which code."""

    file: bytes
    images: int
    errors: dict[str, int]


@dataclass(frozen=True)
class Run:
    """A catalogue, and the `normalised` rows of its output when nothing is killed."""

    catalogue: Catalogue
    rows: list[dict[str, str]]

    def with_killers(self):
        """The same where killers kill."""
        rows = [_poisoned(row) if row["Product Name"] == KILLER else row for row in self.rows]
        killers = sum(row["Product Name"] == KILLER for row in rows)
        errors = self.catalogue.errors | {"poison": killers}
        return Run(Catalogue(self.catalogue.file, self.catalogue.images, errors), rows)


def _poisoned(row):
    return row | {"Output Image Urls": "", "Status": "failed", "Error": "poison"}


def catalogue_of(origin, images, *, delay_ms=0, killers=0):
    """So many different images, a row each, killers half-way; then a few repeated, one missing."""
    urls = [origin.image(number, delay_ms) for number in range(images)]
    rows = [(f"product {number}", url) for number, url in enumerate(urls)]
    rows[images // 2 : images // 2] = [
        (KILLER, origin.killer(images + number)) for number in range(killers)
    ]
    rows += [(REPEATED, url) for url in urls[:: max(1, images // 10)]]
    rows += [("missing", f"{origin.url}/missing.jpg")]
    return Catalogue(_csv(rows), len(rows), {"http_404": 1})


def _csv(rows):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["S. No.", "Product Name", "Input Image Urls", "Price"])
    for number, (name, url) in enumerate(rows, start=1):
        writer.writerow([number, name, url, f"{number}.00"])
    return text.getvalue().encode()


def normalised(output, request_id):
    """Rows of an output CSV without what differs between two runs: id, host, and for repeated
    images the place in the name, since whichever segment was first has made the one file."""
    text = output.decode("utf-8-sig").replace(request_id, "ID")
    text = re.sub(r"http://127\.0\.0\.1:\d+/", "/", text)
    rows = list(csv.DictReader(io.StringIO(text)))
    repeated = {row["Input Image Urls"] for row in rows if row["Product Name"] == REPEATED}
    for row in rows:
        row["Error"] = re.sub(r"^1: poison .*", "poison", row["Error"])
        if row["Input Image Urls"] in repeated:
            row["Output Image Urls"] = re.sub(r"/\d+-\d+-", "/", row["Output Image Urls"])
    return rows
