"""The only part of the service that knows Pillow: image bytes become a compressed image.

In: the bytes a host sent, the caller's options, limits, and an empty file. Out: that file holds
the compressed picture, or `ImageFailed` says why not. Called by `app.making`, from many threads;
nothing here is shared between them but a cache of which colour profiles mean sRGB.

    opened ─── over a limit? no image? ──► ImageFailed
       │ header
       ▼
    decode, reduced where it is to be scaled down
       ▼
    colours to sRGB ── fit ── turn upright
       ▼
    code ── not smaller than it came? ──► the coded picture it came as, in a bare container
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import PIL
from PIL import ExifTags, Image, ImageChops, ImageFile

from app.compress import animation, codecs
from app.compress.colours import Content, content_of, to_srgb
from app.compress.containers import without_metadata
from app.compress.polyglots import hides_another_file
from app.compress.reading import (
    Header,
    Limits,
    check_size,
    opened,
    opened_as,
)
from app.compress.sniffing import SourceFormat
from app.models import BatchOptions, OutputFormat

__all__ = ["CODING", "MEDIA_TYPES", "Compressed", "Header", "Limits", "compress"]

CODING = f"1, Pillow {PIL.__version__}"
"""Raise the number with a change that makes other bytes: earlier results are not reused then."""
MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "gif": "image/gif",
}
_EXTENSIONS = {
    SourceFormat.JPEG: "jpg",
    SourceFormat.PNG: "png",
    SourceFormat.WEBP: "webp",
    SourceFormat.AVIF: "avif",
    SourceFormat.GIF: "gif",
}
_KEEPABLE = {
    OutputFormat.AUTO: frozenset(_EXTENSIONS),
    OutputFormat.KEEP: frozenset(_EXTENSIONS),
    OutputFormat.CLASSIC: frozenset((SourceFormat.JPEG, SourceFormat.PNG)),
    OutputFormat.JPEG: frozenset((SourceFormat.JPEG,)),
    OutputFormat.PNG: frozenset((SourceFormat.PNG,)),
    OutputFormat.WEBP: frozenset((SourceFormat.WEBP,)),
    OutputFormat.AVIF: frozenset((SourceFormat.AVIF,)),
}
_ANIMATION_WRITERS = {
    "webp": animation.write_webp,
    "avif": animation.write_avif,
    "png": animation.write_png,
    "gif": animation.write_gif,
}
# JPEG has no animation, and `classic` is what programs without WebP read: they show first frames.
_ANIMATED_AS = {
    OutputFormat.AUTO: "webp",
    OutputFormat.WEBP: "webp",
    OutputFormat.AVIF: "avif",
    OutputFormat.PNG: "png",
}

_HEAVY = frozenset((OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.PNG))

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)

# A JPEG is decoded at a half, a quarter or an eighth when at least this many times the wanted size
# is left for the better filter; other pictures are first averaged down as far.
_REDUCING_GAP = 2.0

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Compressed:
    """What the file holds. `kept_original`: the coded picture that came, in a bare container."""

    extension: str
    kept_original: bool
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Picture:
    """A still ready to be coded; `untouched` when its pixels and colours are those that came."""

    image: Image.Image
    content: Content
    untouched: bool


def compress(
    source: bytes,
    target: BinaryIO,
    options: BatchOptions,
    limits: Limits,
    *,
    jpeg_optimize: bool = True,
    reserve_pixels: Callable[[int], object] | None = None,
) -> Compressed:
    """Writes the compressed picture into `target`, an empty file opened "w+b" with a descriptor.

    `reserve_pixels` is told before the first is decoded how many will be in memory, twice as many
    where coding takes far more room than from JPEG to JPEG, and may wait.

    Raises ImageFailed (`not_an_image`, `unsupported_format`, `truncated`, `too_many_pixels`,
    `too_many_frames`, `decode_failed`), permanent but for lack of memory, and OSError where the
    disk refuses; the file then holds anything.
    """
    settings = codecs.Settings(options.quality, jpeg_optimize)
    with opened(source, limits) as (header, image):
        if reserve_pixels:
            reserve_pixels(header.pixels * _weight(header, options.format))
        extension = _animated_as(header, options.format)
        if extension is None:
            done = _compress_still(image, header, source, target, options, settings)
        else:
            done = _compress_animation(image, header, source, target, options, limits, extension)
        return done


def _weight(header: Header, option: OutputFormat) -> int:
    """How often a pixel counts: JPEG to JPEG takes 14 bytes for one, PNG to WebP 50 (measured)."""
    is_light = header.format is SourceFormat.JPEG and option not in _HEAVY
    return 1 if is_light else 2


def _animated_as(header: Header, option: OutputFormat) -> str | None:
    if header.frames == 1:
        return None
    if option is OutputFormat.KEEP:
        return _EXTENSIONS[header.format]
    return _ANIMATED_AS.get(option)


def _compress_still(
    image: ImageFile.ImageFile,
    header: Header,
    source: bytes,
    target: BinaryIO,
    options: BatchOptions,
    settings: codecs.Settings,
) -> Compressed:
    picture = _decode(image, options)
    codings = codecs.codings_for(options.format, header.format, picture.image, picture.content)
    extension = codecs.write_smallest(codings, picture.image, target, settings)
    # A first frame is not what came, and what came is no first frame.
    untouched = picture.untouched and header.frames == 1
    coded_bytes = _catch_up(target)
    kept = untouched and _keep_if_smaller(header, source, target, coded_bytes, options.format)
    return Compressed(_EXTENSIONS[header.format] if kept else extension, kept, *picture.image.size)


def _decode(image: ImageFile.ImageFile, options: BatchOptions) -> _Picture:
    came = image.size
    if image.format == "JPEG":
        _decode_reduced(image, options)
    image.load()
    orientation = _orientation(image)
    coloured, recoloured = to_srgb(image)
    fitted = _fitted(came, orientation, options)
    finished = _finished(coloured, fitted, orientation)
    return _Picture(
        finished,
        content_of(coloured) if fitted == came else _content_of_scaled(coloured, finished),
        untouched=fitted == came and orientation == 1 and not recoloured,
    )


def _decode_reduced(image: ImageFile.ImageFile, options: BatchOptions) -> None:
    width, height = _fitted(image.size, _orientation(image), options)
    if (width, height) != image.size:
        image.draft(None, (round(width * _REDUCING_GAP), round(height * _REDUCING_GAP)))


def _orientation(image: ImageFile.ImageFile) -> int:
    """1 to 8 (EXIF 2.3, Orientation); Pillow itself turns TIFF, and bad EXIF is no orientation."""
    if image.format == "TIFF":
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 — anything can be wrong in EXIF, and pictures do without
        return 1
    return orientation if orientation in _TURNS else 1


def _fitted(size: Size, orientation: int, options: BatchOptions) -> Size:
    """The size that an upright picture fits with, still lying as the file has it."""
    room = (options.max_width or math.inf, options.max_height or math.inf)
    if orientation in _LYING:
        room = room[::-1]
    scale = min(1, room[0] / size[0], room[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _finished(picture: Image.Image, fitted: Size, orientation: int) -> Image.Image:
    """Scaled before it is turned, which is the same and moves fewer pixels."""
    if picture.size != fitted:
        picture = picture.resize(fitted, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _content_of_scaled(came: Image.Image, scaled: Image.Image) -> Content:
    """Scaling makes many colours of a drawing's few; coded without loss it may yet be smaller."""
    content = content_of(scaled)
    if content is Content.PHOTOGRAPH and content_of(came) is Content.GRAPHIC:
        return Content.DOUBTFUL
    return content


def _compress_animation(
    image: ImageFile.ImageFile,
    header: Header,
    source: bytes,
    target: BinaryIO,
    options: BatchOptions,
    limits: Limits,
    extension: str,
) -> Compressed:
    size = (header.width, header.height)
    orientation = _orientation(image)
    fitted = _fitted(size, orientation, options)
    untouched = fitted == size and orientation == 1 and not to_srgb(image)[1]

    def finish(frame: Image.Image) -> Image.Image:
        check_size(frame, limits)
        return _finished(_on_canvas(to_srgb(frame)[0], size), fitted, orientation)

    # An APNG may begin with a picture for programs that do not know animations.
    first = int(getattr(image, "default_image", False))
    frames = animation.Animation(image, first, header.frames, finish)
    codecs.check_sides(extension, frames.size)
    _ANIMATION_WRITERS[extension](frames, target, options.quality)
    coded_bytes = _catch_up(target)
    kept = untouched and _keep_if_smaller(header, source, target, coded_bytes, options.format)
    return Compressed(_EXTENSIONS[header.format] if kept else extension, kept, *frames.size)


def _on_canvas(frame: Image.Image, size: Size) -> Image.Image:
    """A later frame of a GIF may reach beyond its canvas; the earlier ones must be as large."""
    if frame.size == size:
        return frame
    canvas = Image.new("RGBA", size)
    canvas.paste(frame)
    return canvas


def _catch_up(target: BinaryIO) -> int:
    """Puts Python's file object where Pillow has written to; that many bytes it holds."""
    return target.seek(0, os.SEEK_END)


def _keep_if_smaller(
    header: Header, source: bytes, target: BinaryIO, coded_bytes: int, option: OutputFormat
) -> bool:
    """Puts the coded picture that came in place of the new one, unless that has fewer bytes."""
    if header.format not in _KEEPABLE[option]:
        return False
    parts = without_metadata(header.format, source, coded_bytes)
    if parts is None or hides_another_file(parts):
        return False
    if header.format is SourceFormat.AVIF and not _same_pixels(header, source, b"".join(parts)):
        return False
    codecs.rewind(target)
    target.writelines(parts)
    return True


def _same_pixels(header: Header, source: bytes, rewritten: bytes) -> bool:
    """Whether a file decodes, frame by frame, to what the file that it was made of does."""
    try:
        with opened_as(header.format, source) as came, opened_as(header.format, rewritten) as bare:
            for frame in range(header.frames):
                came.seek(frame)
                bare.seek(frame)
                difference = ImageChops.difference(came.convert("RGBA"), bare.convert("RGBA"))
                if difference.getbbox(alpha_only=False):
                    return False
    except Exception:  # noqa: BLE001 — the first decodes, so whatever it is the second does not
        return False
    return True
