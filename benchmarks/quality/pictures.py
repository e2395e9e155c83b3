"""The pictures to compress: photographs, drawings of few colours, and cut-outs with transparency.

In: samples/originals, and a folder of further photographs where there is one. Out: each as the file
that a shop would have, the same every time. Nothing is enlarged. Called by `__main__`.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.ssim import Plane, Reference
from samples.make_samples import DRAWINGS, VIEWS, cut_out, show_view

SHORTEST_SIDE = 240
JPEG_RECIPES = ((90, "4:2:0"), (85, "4:2:0"), (92, "4:4:4"), (95, "4:2:0"))
OPAQUE_DRAWINGS = (("size-chart", 600), ("size-chart", 1000), ("swatches", 480), ("swatches", 900))
TRANSPARENT_DRAWINGS = (("badge", 300), ("badge", 600))
CUT_OUTS = ("astronaut", "cat-face", "coffee-saucer", "galaxies-spiral", "rocket-lights")


@dataclass(frozen=True)
class Picture:
    """A file as it comes, and what its likenesses are measured against: itself, decoded."""

    name: str
    source: bytes
    pixels: int
    reference: Reference


def photographs(folder: Path | None) -> list[Picture]:
    """JPEG files of the quality that shops have."""
    return [
        as_file(name, image, "JPEG", quality=quality, subsampling=subsampling)
        for (name, image), (quality, subsampling) in zip(
            chain(_sample_views(), _further(folder)), cycle(JPEG_RECIPES), strict=False
        )
    ]


def _sample_views() -> Iterator[tuple[str, Image.Image]]:
    for name in VIEWS:
        image = _view(name)
        if min(image.size) >= SHORTEST_SIDE:
            yield name, image


def _further(folder: Path | None) -> Iterator[tuple[str, Image.Image]]:
    """At half their size: large photographs are softer than their pixels are small."""
    for path in sorted(folder.glob("*.jpg")) if folder else ():
        with Image.open(path) as image:
            yield path.stem, image.convert("RGB").reduce(2)


def _view(name: str) -> Image.Image:
    left, _, right, _ = VIEWS[name].box
    return show_view(name, right - left)


def drawings() -> list[Picture]:
    return [_drawing(name, width) for name, width in OPAQUE_DRAWINGS]


def transparent() -> list[Picture]:
    cut_outs = [_png(f"{name}-cutout", cut_out(_view(name))[0]) for name in CUT_OUTS]
    return [_drawing(name, width) for name, width in TRANSPARENT_DRAWINGS] + cut_outs


def _drawing(name: str, width: int) -> Picture:
    return _png(f"{name}-{width}", DRAWINGS[name](width))


def _png(name: str, image: Image.Image) -> Picture:
    return as_file(name, image, "PNG", optimize=True)


def as_file(name: str, image: Image.Image, file_format: str, **options: object) -> Picture:
    """The picture as a file comes: `options` are Pillow's, of saving."""
    image.info = {}  # no metadata: leaving it out is not what is measured
    file = io.BytesIO()
    image.save(file, file_format, **options)
    source = file.getvalue()
    return Picture(name, source, image.width * image.height, Reference(luma_of(source)))


def luma_of(coded: bytes) -> Plane:
    """A file's luma (ITU-R BT.601), as it looks on a white page."""
    with Image.open(io.BytesIO(coded)) as image:
        shown = image.convert("RGBA")
    page = Image.new("RGBA", shown.size, "white")
    page.alpha_composite(shown)
    return np.asarray(page.convert("L"), dtype=np.float32)
