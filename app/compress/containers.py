"""Reads and rewrites the wrapping of JPEG, PNG, WebP and GIF files, never their coded pixels.

In: a whole image file. Out: its size and number of frames, whether it ends too early, or the same
coded picture without metadata and trailing bytes. Called by `app.compress`; AVIF has its own
module, `avif_boxes`.

Each walker yields the parts of one format in order and stops where the picture ends, so that what
is appended to a file (the second picture of an MPO, an archive, a page) is never reached.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator

from app.compress.avif_boxes import boxes, without_avif_metadata
from app.compress.parts import Cut, Part, Parts, Unwalkable, number, slice_of
from app.compress.sniffing import SourceFormat

_JPEG_KEPT = frozenset(
    (
        0xC0,  # SOF0 to SOF2: what browsers show. The other frame types make a file unwalkable
        0xC1,
        0xC2,
        0xC4,  # DHT
        0xDA,  # SOS
        0xDB,  # DQT
        0xDC,  # DNL
        0xDD,  # DRI
    )
)
_JPEG_FOREIGN_FRAMES = frozenset((0xC3, 0xC5, 0xC6, 0xC7, *range(0xC8, 0xD0))) - {0xC4}
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_END_OF_SCAN = re.compile(rb"\xff(?![\x00\xd0-\xd7\xff])")

PNG_SIGNATURE_BYTES = 8
_PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND"))

_WEBP_PICTURE = frozenset((b"VP8 ", b"VP8L"))
_WEBP_KEPT = _WEBP_PICTURE | {b"ALPH", b"ANIM", b"ANMF"}
_WEBP_ALPHA_AND_ANIMATION = 0b00010010
_WEBP_FRAME_HEADER_BYTES = 16

GIF_IMAGE, GIF_EXTENSION, GIF_TRAILER = 0x2C, 0x21, 0x3B
GIF_GRAPHIC_CONTROL, GIF_APPLICATION = 0xF9, 0xFF
_GIF_LOOPING = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def jpeg_segments(source: bytes, longest_scan: int | None = None) -> Iterator[Part]:
    """(marker, start, end) from SOI to the first EOI; a scan's segment includes its coded data.

    No more than `longest_scan` bytes of it are looked through: Unwalkable if it is longer.
    """
    yield 0xD8, 0, 2
    at = 2
    while True:
        at, start = _skip_fill(source, at), at
        marker = number(source, at, 1)
        if marker == 0xD9:
            yield marker, at - 1, at + 1
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            raise Unwalkable(f"marker {marker:02x} stands at byte {start}")
        end = at + 1 + number(source, at + 1, 2)
        if end > len(source):
            raise Cut
        if marker == 0xDA:
            end = _end_of_scan(source, end, longest_scan)
        yield marker, at - 1, end
        at = end


def _skip_fill(source: bytes, at: int) -> int:
    """Where the marker's second byte is: any number of 0xFF may stand before it (T.81, B.1.1.2)."""
    if number(source, at, 1) != 0xFF:
        raise Unwalkable(f"no marker at byte {at}")
    while number(source, at, 1) == 0xFF:
        at += 1
    return at


def _end_of_scan(source: bytes, at: int, longest: int | None) -> int:
    last = len(source) if longest is None else min(at + longest + 1, len(source))
    found = _END_OF_SCAN.search(source, at, last)
    if found is None and last < len(source):
        raise Unwalkable(f"the scan at byte {at} is longer than {longest} bytes")
    if found is None or found.end() == len(source):
        raise Cut
    end = found.start()
    while source[end - 1] == 0xFF:
        end -= 1
    return end


def _without_jpeg_metadata(source: bytes, at_most: int) -> Iterator[bytes | memoryview]:
    for marker, start, end in jpeg_segments(source, at_most):
        if marker in _JPEG_FOREIGN_FRAMES:
            raise Unwalkable(f"frame type {marker:02x}")
        if marker in _JPEG_KEPT or marker in (0xD8, 0xD9):
            yield slice_of(source, start, end)
        elif marker == 0xE0 and source.startswith(b"JFIF\0", start + 4):
            # Decoders take three components for YCbCr because of it; its thumbnail is left out.
            yield _JFIF
        elif marker == 0xEE and source.startswith(b"Adobe", start + 4) and end - start >= 16:
            # Tells whether the components are RGB or YCbCr.
            yield b"\xff\xee\x00\x0e" + source[start + 4 : start + 16]


def png_chunks(source: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of each chunk, its length and CRC included, through IEND."""
    at, kind = PNG_SIGNATURE_BYTES, b""
    while kind != b"IEND":
        end = at + 12 + number(source, at, 4)
        if end > len(source):
            raise Cut
        kind = source[at + 4 : at + 8]
        yield kind, at, end
        at = end


def png_extent(source: bytes, max_frames: int) -> tuple[int, int, int]:
    """Width, height and frames of a PNG.

    The frames are those it claims or those it has, whichever are more, counted to one above
    `max_frames`; an APNG may claim 2^31 and have one.
    """
    claimed = counted = 0
    for kind, start, _ in png_chunks(source):
        if kind == b"acTL":
            claimed = number(source, start + 8, 4)
        counted += kind == b"fcTL"
        if max(claimed, counted) > max_frames or (kind == b"IDAT" and claimed <= 1):
            break
    if source[12:16] != b"IHDR":
        raise Unwalkable("a PNG does not begin with its header")
    return number(source, 16, 4), number(source, 20, 4), max(claimed, counted, 1)


def _without_png_metadata(source: bytes) -> Iterator[bytes | memoryview]:
    yield source[:PNG_SIGNATURE_BYTES]
    for kind, start, end in png_chunks(source):
        if kind in _PNG_KEPT:
            chunk = slice_of(source, start, end)
            if zlib.crc32(chunk[4:-4]) != number(source, end - 4, 4):
                raise Unwalkable(f"the checksum of {kind!r} is wrong, which browsers refuse")
            yield chunk
        elif not kind[0] & 0x20:
            raise Unwalkable(f"the critical chunk {kind!r} is unknown")


def webp_chunks(source: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(FourCC, start, end) of each chunk between two places, header included, padding not."""
    at = start
    while at < end:
        chunk_end = at + 8 + number(source, at + 4, 4, "little")
        if chunk_end > end:
            raise Cut
        yield source[at : at + 4], at, chunk_end
        at = chunk_end + (chunk_end - at) % 2


def _webp_end(source: bytes) -> int:
    end = 8 + number(source, 4, 4, "little")
    if end > len(source):
        raise Cut
    return end


def webp_extent(source: bytes, max_frames: int) -> tuple[int, int, int]:
    """Width, height and frames, without libwebp: it takes memory for two canvases to open one."""
    end = _webp_end(source)
    first = source[12:16]
    if first == b"VP8X":
        frames = 0
        for kind, _, _ in webp_chunks(source, 12, end):
            frames += kind == b"ANMF"
            if frames > max_frames:
                break
        width, height = (number(source, at, 3, "little") + 1 for at in (24, 27))
        return width, height, max(frames, 1)
    if first == b"VP8L":
        bits = number(source, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1
    if first == b"VP8 ":
        return number(source, 26, 2, "little") & 0x3FFF, number(source, 28, 2, "little") & 0x3FFF, 1
    raise Unwalkable(f"a WebP does not begin with {first!r}")


def _without_webp_metadata(source: bytes) -> Iterator[bytes | memoryview]:
    body = list(_kept_webp_chunks(source, 12, _webp_end(source)))
    yield b"RIFF" + (4 + sum(map(len, body))).to_bytes(4, "little") + b"WEBP"
    yield from body


def _kept_webp_chunks(source: bytes, start: int, end: int) -> Iterator[bytes | memoryview]:
    for kind, chunk_start, chunk_end in webp_chunks(source, start, end):
        if kind == b"VP8X":
            flags = source[chunk_start + 8] & _WEBP_ALPHA_AND_ANIMATION
            yield source[chunk_start : chunk_start + 8] + bytes((flags,))
            yield source[chunk_start + 9 : chunk_end]
        elif kind == b"ANMF":
            yield from _kept_webp_frame(source, chunk_start, chunk_end)
        elif kind in _WEBP_KEPT:
            yield slice_of(source, chunk_start, chunk_end)
            yield bytes((chunk_end - chunk_start) % 2)
        if kind in _WEBP_PICTURE:
            return  # the picture's last chunk, in a file and in a frame


def _kept_webp_frame(source: bytes, start: int, end: int) -> Iterator[bytes | memoryview]:
    picture = start + 8 + _WEBP_FRAME_HEADER_BYTES
    body = list(_kept_webp_chunks(source, picture, end))
    length = _WEBP_FRAME_HEADER_BYTES + sum(map(len, body))
    yield b"ANMF" + length.to_bytes(4, "little") + source[start + 8 : picture]
    yield from body


def gif_blocks(source: bytes) -> Iterator[Part]:
    """(first byte, start, end) of each extension and image, up to the trailer or a clean end."""
    at = _gif_header_bytes(source)
    while at < len(source) and source[at] != GIF_TRAILER:
        kind, start = source[at], at
        if kind == GIF_EXTENSION:
            at += 2
        elif kind == GIF_IMAGE:
            at += 11 + gif_palette_bytes(number(source, at + 9, 1))
        else:
            raise Unwalkable(f"block {kind:02x} at byte {at}")
        while length := number(source, at, 1):
            at += 1 + length
        at += 1
        yield kind, start, at


def gif_palette_bytes(flags: int) -> int:
    """The length of the palette that the flags of a GIF's screen or image announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_header_bytes(source: bytes) -> int:
    return 13 + gif_palette_bytes(number(source, 10, 1))


def gif_extent(source: bytes, max_frames: int) -> tuple[int, int, int]:
    """Width, height and frames; frames that reach beyond the canvas enlarge it, as in Pillow."""
    width, height = number(source, 6, 2, "little"), number(source, 8, 2, "little")
    frames = 0
    for kind, start, _ in gif_blocks(source):
        if kind == GIF_IMAGE:
            frames += 1
            left, top, across, down = (
                number(source, start + at, 2, "little") for at in (1, 3, 5, 7)
            )
            width, height = max(width, left + across), max(height, top + down)
        if frames > max_frames:
            break
    return width, height, max(frames, 1)


def _without_gif_metadata(source: bytes) -> Iterator[bytes | memoryview]:
    yield source[: _gif_header_bytes(source)]
    control: memoryview | None = None
    for kind, start, end in gif_blocks(source):
        block = slice_of(source, start, end)
        if kind == GIF_IMAGE:
            # A graphic control belongs to the next image or plain text; texts are left out.
            yield from (control, block) if control is not None else (block,)
            control = None
        elif block[1] == GIF_GRAPHIC_CONTROL:
            control = block
        elif block[1] == GIF_APPLICATION and source[start + 3 : start + 14] in _GIF_LOOPING:
            yield block
        else:
            control = None
    yield bytes((GIF_TRAILER,))


_REWRITES: dict[SourceFormat, Callable[[bytes], Iterable[bytes | memoryview]]] = {
    SourceFormat.PNG: _without_png_metadata,
    SourceFormat.WEBP: _without_webp_metadata,
    SourceFormat.GIF: _without_gif_metadata,
    SourceFormat.AVIF: without_avif_metadata,
}


def without_metadata(source_format: SourceFormat, source: bytes, at_most: int) -> Parts | None:
    """The same coded picture in a bare container: slices of `source`, to be written in order.

    None where they are more than `at_most` bytes, or the container is not understood well enough
    to be sure. A JPEG is looked through no further than that: photographs are large, and mostly
    halved.
    """
    try:
        if source_format is SourceFormat.JPEG:
            parts = list(_without_jpeg_metadata(source, at_most))
        else:
            parts = list(_REWRITES[source_format](source))
    except Unwalkable:
        return None
    return parts if sum(map(len, parts)) <= at_most else None


def ends_early(source_format: SourceFormat, source: bytes) -> bool:
    """Whether the container says that more should follow than came."""
    walks: dict[SourceFormat, Callable[[], Iterable[object]]] = {
        SourceFormat.JPEG: lambda: jpeg_segments(source),
        SourceFormat.PNG: lambda: png_chunks(source),
        SourceFormat.WEBP: lambda: webp_chunks(source, 12, _webp_end(source)),
        SourceFormat.GIF: lambda: gif_blocks(source),
        SourceFormat.AVIF: lambda: boxes(source, 0, len(source)),
    }
    try:
        for _ in walks.get(source_format, tuple)():
            pass
    except Cut:
        return True
    except Unwalkable:
        return False
    return False
