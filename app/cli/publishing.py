"""What a finished request has made → DIR: its images, then the CSV that names them.

Can be broken off and done again anywhere. Called by `local_run`.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from app.archive import portable_name
from app.cli.files import write_whole
from app.errors import NotFound
from app.models import Batch, Product
from app.scratch import disk_errors
from app.services import Services
from app.storage import Copy
from app.storage.local import LocalStorage

IMAGES = "images"
LINKED_AT_ONCE = 1_000


def publish(
    batch: Batch,
    folder: Path,
    output_base: str,
    services: Services,
    say: Callable[[str], None],
) -> Path:
    """Where the CSV is now, whose links begin with `output_base`. Raises NotFound, Unavailable.

    An image is the same file under one more name, where the disk has hard links.
    """
    output_csv = folder / portable_name(batch.stem, "-compressed.csv")
    if output_csv.exists():
        say(f"Replacing {output_csv}, which was there before")
    _link_images(batch, folder / IMAGES, services)

    def link(key: str) -> str:
        return f"{output_base}{IMAGES}/{_name(key)}"

    with disk_errors():
        write_whole(output_csv, services.exports.output_csv(batch, link=link))
    return output_csv


def _link_images(batch: Batch, target: Path, services: Services) -> None:
    with disk_errors():
        target.mkdir(exist_ok=True)
        mode = target.stat().st_mode & 0o666
    storage = LocalStorage({IMAGES: target, "processed": services.settings.processed_dir}, 0)
    products = services.database.products.iterate(batch.request_id)
    while group := list(islice(products, LINKED_AT_ONCE)):
        copies = {copy.key: copy for copy in _copies(group)}
        there = storage.copy_all(copies.values())
        if len(there) < len(copies):
            work = services.settings.processed_dir.parent
            raise NotFound(f"images are missing in {work}: with --anew all are made again")
        with disk_errors():
            for key in there:  # the service's own files are for nobody else
                (target / _name(key)).chmod(mode)


def _copies(products: Iterable[Product]) -> Iterator[Copy]:
    for product in products:
        for image in product.images:
            path = image.result.path
            if path:
                yield Copy(path, f"{IMAGES}/{_name(path)}", image.result.bytes_out)


def _name(key: str) -> str:
    return key.rpartition("/")[2]
