"""Chooses what a still picture is coded as, and codes it.

In: a picture in 8-bit sRGB (`colours`) and what the caller asked for. Out: the coded picture in a
file. Called by `app.compress`.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from app.compress.colours import Content, on_white, with_palette
from app.compress.sniffing import SourceFormat
from app.errors import ImageFailed
from app.models import ErrorCode, OutputFormat

WEBP_METHOD = 4
WEBP_LOSSLESS_EFFORT = 50
AVIF_SPEED = 6
ANIMATED_AVIF_SPEED = 8
"""200 megapixels of frames would take 24 s, and 93 s at the speed of stills (reckoned from 5);
`app.solo` gives a coder up after 120 s."""
PNG_LEVEL = 6

_LONGEST_SIDE = {"jpg": 65_500, "webp": 16_383, "avif": 65_535, "gif": 65_535}


@dataclass(frozen=True, slots=True)
class Settings:
    """`quality` is 1–95, of lossy codings. `jpeg_optimize` fits Huffman tables to the picture."""

    quality: int
    jpeg_optimize: bool


@dataclass(frozen=True, slots=True)
class Coding:
    """One way to code a picture into an empty file at its beginning."""

    extension: str
    write: Callable[[Image.Image, BinaryIO, Settings], None]


def _write_jpeg(picture: Image.Image, target: BinaryIO, settings: Settings) -> None:
    opaque = on_white(picture)
    try:
        opaque.save(target, "JPEG", quality=settings.quality, optimize=settings.jpeg_optimize)
    except OSError as error:
        if error.errno is not None:
            raise
        # The disk is full, or fitting the tables took more than the byte a pixel that Pillow
        # reserves for it (noise above quality 90), and the error does not say which. Coded in
        # memory and without fitting, the picture cannot fail, and the file can say what it lacks.
        coded = io.BytesIO()
        opaque.save(coded, "JPEG", quality=settings.quality)
        rewind(target)
        target.write(coded.getvalue())


def _write_webp(picture: Image.Image, target: BinaryIO, settings: Settings) -> None:
    picture.save(target, "WEBP", quality=settings.quality, method=WEBP_METHOD)


def _write_lossless_webp(picture: Image.Image, target: BinaryIO, settings: Settings) -> None:
    del settings
    picture.save(target, "WEBP", lossless=True, quality=WEBP_LOSSLESS_EFFORT, method=WEBP_METHOD)


def _write_avif(picture: Image.Image, target: BinaryIO, settings: Settings) -> None:
    picture.save(target, "AVIF", quality=settings.quality, speed=AVIF_SPEED, max_threads=1)


def _write_png(picture: Image.Image, target: BinaryIO, settings: Settings) -> None:
    del settings
    (with_palette(picture) or picture).save(target, "PNG", compress_level=PNG_LEVEL)


def _write_gif(picture: Image.Image, target: BinaryIO, settings: Settings) -> None:
    del settings
    (with_palette(picture) or for_gif(picture)).save(target, "GIF")


JPEG = Coding("jpg", _write_jpeg)
WEBP = Coding("webp", _write_webp)
LOSSLESS_WEBP = Coding("webp", _write_lossless_webp)
AVIF = Coding("avif", _write_avif)
PNG = Coding("png", _write_png)
GIF = Coding("gif", _write_gif)

_NAMED = {
    OutputFormat.JPEG: (JPEG,),
    OutputFormat.AVIF: (AVIF,),
    OutputFormat.PNG: (PNG,),
}
# Browsers show neither BMP nor, mostly, TIFF; PNG keeps their pixels as they are.
_KEPT = {
    SourceFormat.JPEG: (JPEG,),
    SourceFormat.PNG: (PNG,),
    SourceFormat.GIF: (GIF,),
    SourceFormat.AVIF: (AVIF,),
    SourceFormat.BMP: (PNG,),
    SourceFormat.TIFF: (PNG,),
}


def codings_for(
    option: OutputFormat, source_format: SourceFormat, picture: Image.Image, content: Content
) -> Sequence[Coding]:
    """The codings to try; the smallest result wins.

    Raises ImageFailed `too_many_pixels` where no format that the option allows is large enough.
    """
    wanted = _wanted(option, source_format, picture.mode in ("LA", "RGBA"), content)
    possible = [coding for coding in wanted if max(picture.size) <= _longest_side(coding.extension)]
    if not possible and option in (OutputFormat.AUTO, OutputFormat.CLASSIC):
        return (PNG,)
    if not possible:
        check_sides(wanted[0].extension, picture.size)
    return possible


def _longest_side(extension: str) -> int:
    return _LONGEST_SIDE.get(extension, 2**31)


def check_sides(extension: str, size: tuple[int, int]) -> None:
    """Raises ImageFailed `too_many_pixels` where a format cannot hold a picture so long."""
    if max(size) > _longest_side(extension):
        raise ImageFailed(
            ErrorCode.TOO_MANY_PIXELS,
            f"{size[0]} × {size[1]} pixels: {extension} holds at most "
            f"{_longest_side(extension):,} a side: set max_width and max_height, or another format",
            permanent=True,
        )


def _wanted(
    option: OutputFormat, source_format: SourceFormat, transparent: bool, content: Content
) -> Sequence[Coding]:
    if option is OutputFormat.KEEP and source_format in _KEPT:
        return _KEPT[source_format]
    if option in _NAMED:
        return _NAMED[option]
    if option is OutputFormat.CLASSIC:
        return (PNG,) if transparent else (JPEG,)
    if option is OutputFormat.AUTO:
        return _automatic(transparent, content)
    return (WEBP,) if content is Content.PHOTOGRAPH else (WEBP, LOSSLESS_WEBP)


def _automatic(transparent: bool, content: Content) -> Sequence[Coding]:
    lossy = WEBP if transparent else JPEG
    # Libraries other than browsers read a palette with transparency less well than WebP.
    lossless = (LOSSLESS_WEBP,) if transparent else (PNG, LOSSLESS_WEBP)
    if content is Content.PHOTOGRAPH:
        return (lossy,)
    return lossless if content is Content.GRAPHIC else (*lossless, lossy)


def write_smallest(
    codings: Sequence[Coding], picture: Image.Image, target: BinaryIO, settings: Settings
) -> str:
    """Codes the picture into `target` and returns the extension of what it holds.

    A single coding goes straight into the file: Pillow's JPEG coder then writes to its descriptor
    without coming back to Python, and two threads code as fast as two processes (measured).
    """
    # Pillow's writers would carry profile, comment and transparency over from here.
    picture.info = {}
    if len(codings) == 1:
        codings[0].write(picture, target, settings)
        return codings[0].extension
    tried = [(coding, _coded(coding, picture, settings)) for coding in codings]
    coding, smallest = min(tried, key=lambda attempt: len(attempt[1]))
    target.write(smallest)
    return coding.extension


def _coded(coding: Coding, picture: Image.Image, settings: Settings) -> bytes:
    attempt = io.BytesIO()
    coding.write(picture, attempt, settings)
    return attempt.getvalue()


def rewind(target: BinaryIO) -> None:
    """Empties a file. Pillow moves the descriptor behind the back of Python's file object."""
    target.seek(0, io.SEEK_END)
    target.seek(0)
    target.truncate()


def for_gif(picture: Image.Image) -> Image.Image:
    """The picture with a palette of its own; GIF knows pixels that are opaque or that are not."""
    if picture.mode not in ("LA", "RGBA"):
        return picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
    opaque = picture.convert("RGB").quantize(255, method=Image.Quantize.MEDIANCUT)
    opaque.putpalette((opaque.getpalette() or []) + [0] * 3)
    transparent = len(opaque.getpalette() or []) // 3 - 1
    clear = picture.getchannel("A").point(lambda alpha: 255 * (alpha < 128))
    opaque.paste(transparent, mask=clear)
    opaque.info["transparency"] = transparent
    return opaque
