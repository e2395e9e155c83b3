"""The uploaded tables of the trials, and what their outputs must say."""

import csv
import io
import re
from dataclasses import dataclass

REPEATED = "repeated"
"""The product name of rows whose URL stands in an earlier row too."""


@dataclass(frozen=True)
class Catalogue:
    """`file` is the CSV; `images` counts its slots, `failures` those that must fail (404)."""

    file: bytes
    images: int
    failures: int


def catalogue_of(origin, images, *, delay_ms=0, others=()):
    """So many different images, a row each; then a few repeated, one missing, and `others`."""
    urls = [origin.image(number, delay_ms) for number in range(images)]
    rows = [(f"product {number}", url) for number, url in enumerate(urls)]
    rows += [(REPEATED, url) for url in urls[:: max(1, images // 10)]]
    rows += [("missing", f"{origin.url}/missing.jpg")]
    rows += [(f"other {number}", url) for number, url in enumerate(others)]
    return Catalogue(_csv(rows), len(rows), 1)


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
        if row["Input Image Urls"] in repeated:
            row["Output Image Urls"] = re.sub(r"/\d+-\d+-", "/", row["Output Image Urls"])
    return rows
