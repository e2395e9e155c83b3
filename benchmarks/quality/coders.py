"""Who compresses: the service itself, and others by the libraries and the defaults they use.

In: a file's bytes and a quality. Out: the compressed file's bytes. Called by `measures`.

The others' defaults, as their documentation and sources give them (read in November 2026):

- imgproxy: `IMGPROXY_QUALITY` 80 (docs.imgproxy.net/configuration/options); WebP 79 and AVIF 63 and
  AVIF speed 8 since 3.27 (its CHANGELOG.md); WebP effort 4 (vips/config.go); fitted Huffman tables
  (vips/vips.c). A file keeps its format unless the URL or the browser asks for another.
- img2dataset: `encode_quality` 95, `encode_format` jpg, `skip_reencode` False (its README.md), by
  OpenCV; transparency on white (resizer.py).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from app.compress import Limits, codecs, compress
from app.models import BatchOptions, OutputFormat

OUR_QUALITY = 50
LIMITS = Limits()


@dataclass(frozen=True)
class Coder:
    """`quality` is its default."""

    name: str
    quality: int
    code: Callable[[bytes, int], bytes]


def ours(
    output_format: OutputFormat, *, jpeg_optimize: bool = True, effort: int | None = None
) -> Coder:
    """The service's own code, into a file in memory, as the service does it.

    `effort` is WebP's method or AVIF's speed, where it is not to be the one set.
    """
    constant = "AVIF_SPEED" if output_format is OutputFormat.AVIF else "WEBP_METHOD"

    def code(source: bytes, quality: int) -> bytes:
        options = BatchOptions(quality=quality, format=output_format)
        chosen = getattr(codecs, constant) if effort is None else effort
        with (
            os.fdopen(os.memfd_create("coded"), "w+b") as target,
            patch.object(codecs, constant, chosen),
        ):
            compress(source, target, options, LIMITS, jpeg_optimize=jpeg_optimize)
            target.seek(0)
            return target.read()

    name = f"Pressroom {output_format}"
    if not jpeg_optimize:
        name += ", `JPEG_OPTIMIZE=false`"
    if effort is not None:
        name += f", {constant} = {effort}"
    return Coder(name, OUR_QUALITY, code)


def imgproxy(file_format: str) -> Coder:
    """The calls that imgproxy makes of libvips, without what it does around them."""
    vips = _libvips()
    saver, options, quality = {
        "jpeg": ("jpegsave_buffer", {"optimize_coding": True}, 80),
        "webp": ("webpsave_buffer", {"effort": 4}, 79),
        "avif": ("heifsave_buffer", {"compression": "av1", "effort": 9 - 8}, 63),
        "png": ("pngsave_buffer", {"filter": "none"}, 80),
    }[file_format]

    def code(source: bytes, quality: int) -> bytes:
        picture = vips.Image.new_from_buffer(source, "")
        lossy = {} if file_format == "png" else {"Q": quality}
        return bytes(getattr(picture, saver)(keep="none", **lossy, **options))

    return Coder(f"imgproxy {file_format}", quality, code)


def _libvips() -> Any:
    os.environ["VIPS_CONCURRENCY"] = "1"  # CPU is counted, not time: threads would only add to it
    import pyvips

    pyvips.cache_set_max(0)  # or a picture that comes again is not decoded again
    return pyvips


def img2dataset() -> Coder:
    """What img2dataset does with a picture that it is not to resize."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)

    def code(source: bytes, quality: int) -> bytes:
        picture = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_UNCHANGED)
        if picture.ndim == 3 and picture.shape[2] == 4:
            alpha = picture[:, :, 3:] / 255
            picture = np.rint(picture[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()

    return Coder("img2dataset jpeg", 95, code)
