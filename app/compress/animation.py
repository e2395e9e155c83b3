"""Codes animations frame by frame, so that only two frames are ever in memory.

In: an opened animation. Out: an animated WebP, AVIF, PNG or GIF. Called by `app.compress`.

Pillow's writers of WebP and AVIF pull one frame after another; those of PNG and GIF first collect
all of them, so here each frame is coded as a picture and its chunks or blocks are put together.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import Image, ImageChops, ImageFile

from app.compress.codecs import ANIMATED_AVIF_SPEED, PNG_LEVEL, WEBP_METHOD, for_gif
from app.compress.colours import with_palette
from app.compress.containers import (
    GIF_EXTENSION,
    GIF_GRAPHIC_CONTROL,
    GIF_IMAGE,
    GIF_TRAILER,
    PNG_SIGNATURE_BYTES,
    gif_blocks,
    gif_palette_bytes,
    png_chunks,
)

_GIF_LONGEST_DELAY = 65_535
_GIF_KEEP, _GIF_CLEAR = 1, 2

Frame = tuple[Image.Image, int]


class Animation(Image.Image):
    """The finished frames of a source, RGBA and of one size, as a picture that can be sought.

    `finish` takes a decoded frame to what is coded. `durations` holds the milliseconds of the
    frames sought so far: some formats tell them only as they are decoded. `plays` is 0 for ever.
    """

    def __init__(
        self,
        source: ImageFile.ImageFile,
        first: int,
        frames: int,
        finish: Callable[[Image.Image], Image.Image],
    ):
        super().__init__()
        self._source = source
        self._first = first
        self._finish = finish
        self._at = -1
        self.n_frames = frames
        self.is_animated = True
        self.durations: list[int] = []
        self.plays = _plays(source)
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Makes a frame the current picture. Raises EOFError after the last one."""
        if frame == self._at:
            return
        if frame >= self.n_frames:
            raise EOFError
        self._source.seek(self._first + frame)
        picture = self._finish(self._source).convert("RGBA")
        self.im = picture.im
        self._mode, self._size = picture.mode, picture.size
        self._at = frame
        if frame == len(self.durations):
            self.durations.append(round(self._source.info.get("duration", 0)))

    def tell(self) -> int:
        return self._at

    def shown(self) -> Iterator[Frame]:
        """Every frame as a picture of its own, in order, and how many milliseconds it is shown."""
        for frame in range(self.n_frames):
            self.seek(frame)
            yield self.copy(), self.durations[frame]


def _plays(source: ImageFile.ImageFile) -> int:
    """How often it is shown. A GIF counts repetitions, and without a count is shown once."""
    loop = source.info.get("loop")
    if source.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else int(loop) and int(loop) + 1


def write_webp(animation: Animation, target: BinaryIO, quality: int) -> None:
    animation.save(
        target,
        "WEBP",
        save_all=True,
        quality=quality,
        method=WEBP_METHOD,
        duration=animation.durations,
        loop=animation.plays,
    )


def write_avif(animation: Animation, target: BinaryIO, quality: int) -> None:
    """Writes an AVIF sequence; Pillow cannot say how often it is shown, so it is for ever."""
    animation.save(
        target,
        "AVIF",
        save_all=True,
        quality=quality,
        speed=ANIMATED_AVIF_SPEED,
        max_threads=1,
        duration=animation.durations,
    )


def write_png(animation: Animation, target: BinaryIO, quality: int) -> None:
    """Writes an APNG whose frames each replace the rectangle that changes (APNG 1.0: SOURCE)."""
    del quality
    numbers = itertools.count()
    previous = None
    for picture, milliseconds in animation.shown():
        box = _changed(previous, picture)
        header, data = _png_parts(picture.crop(box))
        if previous is None:
            target.write(header)
            target.write(_chunk(b"acTL", struct.pack(">2I", animation.n_frames, animation.plays)))
        left, top, right, bottom = box
        control = (next(numbers), right - left, bottom - top, left, top)
        timing = (min(milliseconds, 65_535), 1000, 0, 0)
        target.write(_chunk(b"fcTL", struct.pack(">5I2H2B", *control, *timing)))
        if previous is None:
            target.write(_chunk(b"IDAT", data))
        else:
            target.write(_chunk(b"fdAT", next(numbers).to_bytes(4, "big") + data))
        previous = picture
    target.write(_chunk(b"IEND", b""))


def _changed(previous: Image.Image | None, picture: Image.Image) -> tuple[int, int, int, int]:
    """The rectangle outside which a frame equals the one before; never empty."""
    if previous is None:
        return 0, 0, *picture.size
    difference = ImageChops.subtract_modulo(picture, previous)
    return difference.getbbox(alpha_only=False) or (0, 0, 1, 1)


def _png_parts(picture: Image.Image) -> tuple[bytes, bytes]:
    """The signature with the header, and the compressed pixels, of a picture coded as PNG."""
    coded = io.BytesIO()
    picture.save(coded, "PNG", compress_level=PNG_LEVEL)
    source = coded.getvalue()
    chunks = list(png_chunks(source))
    header = source[:PNG_SIGNATURE_BYTES] + source[chunks[0][1] : chunks[0][2]]
    data = b"".join(source[start + 8 : end - 4] for kind, start, end in chunks if kind == b"IDAT")
    return header, data


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_gif(animation: Animation, target: BinaryIO, quality: int) -> None:
    """Writes a GIF with a palette for each frame.

    A frame can only be cleared where it was drawn, so frames before and with transparent pixels
    are drawn whole; the others only where they change.
    """
    del quality
    target.write(b"GIF89a" + struct.pack("<2H3B", *animation.size, 0x70, 0, 0))
    if animation.plays != 1:
        repetitions = min(max(animation.plays - 1, 0), 65_535)
        target.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repetitions) + b"\0")
    previous = None
    for (picture, milliseconds), following in _with_next(animation.shown()):
        clear = following is not None and not _is_opaque(following[0])
        whole = clear or previous is None or not _is_opaque(picture)
        box = (0, 0, *picture.size) if whole else _changed(previous, picture)
        target.write(_gif_frame(picture, box, milliseconds, _GIF_CLEAR if clear else _GIF_KEEP))
        previous = picture
    target.write(bytes((GIF_TRAILER,)))


def _with_next(frames: Iterator[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    current = next(frames)
    for following in frames:
        yield current, following
        current = following
    yield current, None


def _is_opaque(picture: Image.Image) -> bool:
    return picture.getchannel("A").getextrema() == (255, 255)


def _gif_frame(
    picture: Image.Image, box: tuple[int, int, int, int], milliseconds: int, disposal: int
) -> bytes:
    """One frame's graphic control, descriptor, palette and pixels (GIF89a, 20 to 23)."""
    part = picture.crop(box)
    if disposal == _GIF_KEEP and _is_opaque(part):
        part = part.convert("RGB")
    # A frame to be cleared has a transparent colour although no pixel may use it: browsers clear
    # to transparency in any case, others (Pillow) to the background where there is none.
    coded = io.BytesIO()
    (with_palette(part) or for_gif(part)).save(coded, "GIF", optimize=False)
    source = coded.getvalue()
    transparent, has_transparent, block = 0, 0, b""
    for kind, start, end in gif_blocks(source):
        if kind == GIF_EXTENSION and source[start + 1] == GIF_GRAPHIC_CONTROL:
            has_transparent, transparent = source[start + 3] & 1, source[start + 6]
        elif kind == GIF_IMAGE:
            block = source[start:end]
    delay = min(round(milliseconds / 10), _GIF_LONGEST_DELAY)
    flags = disposal << 2 | has_transparent
    control = b"!\xf9\x04" + struct.pack("<BHB", flags, delay, transparent) + b"\0"
    palette = source[13 : 13 + gif_palette_bytes(source[10])]
    place = struct.pack("<2H", *box[:2])
    local_palette = bytes((block[9] & 0x40 | 0x80 | source[10] & 7,))
    return control + block[:1] + place + block[5:9] + local_palette + palette + block[10:]
