"""What is kept as it came is the same picture in a bare container, and never a broken one."""

import io
import struct
import tempfile
from collections.abc import Callable

import pytest
from PIL import Image, ImageSequence, PngImagePlugin
from test_compress import (
    Output,
    animated,
    coded,
    differ,
    drawing,
    frames,
    photograph,
    squeeze,
    with_hole,
)
from test_compress_colours import chunk, srgb_profile, swapped_profile

from app.compress import Limits, compress
from app.compress.containers import ends_early, png_chunks, without_metadata
from app.compress.sniffing import SourceFormat
from app.models import BatchOptions

MARKER = b"Marker4711"
PNG_METADATA = {b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs", b"tIME", b"prVt"}
KEPT_FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "AVIF": "avif", "GIF": "gif"}


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E] = MARKER.decode()
    tags[0x0112] = 1
    return tags


def xmp() -> bytes:
    return b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + MARKER + b"</x:xmpmeta>"


def marked_profile() -> bytes:
    """An sRGB profile with the marker behind its last tag."""
    profile = srgb_profile()
    length = len(profile) + len(MARKER) + 2
    return struct.pack(">I", length) + profile[4:] + MARKER + b"\0\0"


def marked(name: str, picture: Image.Image, **settings: object) -> bytes:
    """A picture with the marker in everything that a format has room for."""
    if name == "GIF":
        source = coded(picture, name, comment=MARKER, **settings)
        application = b"!\xff\x0bXMP DataXMP\x0a" + MARKER + b"\x00"
        return source[:-1] + application + b"!\x01\x0c" + bytes(12) + b"\x0a" + MARKER + b"\0;"
    settings |= {"exif": exif(), "icc_profile": marked_profile()}
    if name == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", MARKER.decode())
        info.add_itxt("XML:com.adobe.xmp", xmp().decode())
        info.add(b"prVt", MARKER)
        return coded(picture, name, pnginfo=info, dpi=(72, 72), **settings)
    source = coded(picture, name, xmp=xmp(), **settings)
    if name == "JPEG":
        return source[:2] + b"\xff\xfe\0\x0c" + MARKER + source[2:]
    return source


def keep(source: bytes, option: str = "keep") -> Output:
    """At a quality at which coding again cannot be smaller."""
    return squeeze(source, option, quality=95)


def small(name: str) -> bytes:
    """A photograph coded so coarsely that quality 95 is larger, with the marker everywhere."""
    settings: dict[str, object] = {"quality": 10} if name != "PNG" else {}
    picture = photograph()
    if name == "GIF":
        picture = picture.quantize(200)
    return marked(name, picture, **settings)


@pytest.mark.parametrize("name", KEPT_FORMATS)
def test_a_kept_picture_decodes_to_the_same_pixels(name: str) -> None:
    source = small(name)

    output = keep(source)

    assert output.said.kept_original
    assert output.said.extension == KEPT_FORMATS[name]
    assert differ(output.picture(), Image.open(io.BytesIO(source))) == 0


@pytest.mark.parametrize("name", KEPT_FORMATS)
def test_a_kept_picture_has_lost_its_metadata_and_is_no_larger(name: str) -> None:
    source = small(name)
    assert MARKER in source or name in ("PNG", "AVIF")

    output = keep(source)

    assert MARKER not in output.data
    assert len(output.data) <= len(source)
    picture = output.picture()
    assert not picture.getexif()
    assert not picture.info.keys() & {"icc_profile", "exif", "xmp", "comment", "Comment", "dpi"}


@pytest.mark.parametrize("name", [*KEPT_FORMATS, "TIFF"])
@pytest.mark.parametrize("option", ["auto", "jpeg", "webp", "avif", "png", "keep", "classic"])
@pytest.mark.parametrize("content", ["photograph", "drawing"])
def test_no_output_has_metadata_of_its_source(name: str, option: str, content: str) -> None:
    picture = photograph() if content == "photograph" else drawing()
    source = marked(name, picture.quantize(200) if name == "GIF" else picture)

    output = squeeze(source, option)

    assert MARKER not in output.data
    assert not PNG_METADATA.intersection(png_chunk_names(output.data))
    assert not output.picture().getexif()
    assert not output.picture().info.keys() & {"icc_profile", "exif", "xmp", "comment"}


def png_chunk_names(data: bytes) -> list[bytes]:
    return [kind for kind, _, _ in png_chunks(data)] if data.startswith(b"\x89PNG") else []


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "AVIF"])
def test_a_kept_animation_plays_the_same(name: str) -> None:
    source = animated(name, **({"quality": 5} if name in ("WEBP", "AVIF") else {}))
    if name == "GIF":
        source = source[:-1] + b"!\xfe\x0a" + MARKER + b"\0;"

    output = keep(source)

    assert output.said.kept_original
    assert MARKER not in output.data
    before = [
        frame.convert("RGBA") for frame in ImageSequence.Iterator(Image.open(io.BytesIO(source)))
    ]
    after = [frame.convert("RGBA") for frame in ImageSequence.Iterator(output.picture())]
    assert all(differ(one, other) == 0 for one, other in zip(before, after, strict=True))
    assert output.picture().info.get("loop") == Image.open(io.BytesIO(source)).info.get("loop")


@pytest.mark.parametrize("name", KEPT_FORMATS)
@pytest.mark.parametrize(
    "tail", [b"PK\3\4" + MARKER * 9, b"<html>" + MARKER * 9, b"\0" * 9 + MARKER]
)
def test_what_follows_a_picture_is_cut_off(name: str, tail: bytes) -> None:
    source = small(name)

    output = keep(source + tail)

    assert output.said.kept_original
    assert MARKER not in output.data
    assert output.data == keep(source).data


@pytest.mark.parametrize("progressive", [True, False])
@pytest.mark.parametrize("restarts", [0, 1])
def test_all_scans_of_a_jpeg_are_kept(progressive: bool, restarts: int) -> None:
    picture = photograph()
    source = coded(
        picture, "JPEG", quality=10, progressive=progressive, restart_marker_rows=restarts
    )

    output = keep(source)

    assert output.said.kept_original
    assert output.data.count(b"\xff\xda") == source.count(b"\xff\xda")
    assert differ(output.picture(), Image.open(io.BytesIO(source))) == 0


def test_a_jpeg_in_rgb_keeps_the_segment_that_says_so() -> None:
    source = coded(photograph(), "JPEG", quality=5, keep_rgb=True)

    output = keep(source)

    assert output.said.kept_original
    assert differ(output.picture(), Image.open(io.BytesIO(source))) == 0


def test_fill_bytes_before_markers_are_understood() -> None:
    source = coded(photograph(), "JPEG", quality=5)
    filled = source[:2] + b"\xff\xff" + source[2:-2] + b"\xff\xff" + source[-2:]

    output = keep(filled)

    assert output.said.kept_original
    assert differ(output.picture(), Image.open(io.BytesIO(source))) == 0


def test_the_thumbnail_of_a_jfif_header_is_left_out() -> None:
    source = coded(photograph(), "JPEG", quality=5)
    header = b"\xff\xe0\0\x1aJFIF\0\1\2\0\0\1\0\1\1\1abc" + MARKER[:7]
    assert source[2:4] == b"\xff\xe0"

    output = keep(source[:2] + header + source[20:])

    assert output.said.kept_original
    assert MARKER[:7] not in output.data


def test_the_first_picture_of_an_mpo_is_read_and_the_others_cut_off() -> None:
    file = io.BytesIO()
    photograph().save(
        file, "MPO", save_all=True, append_images=[drawing(size=(180, 120))], quality=5
    )

    output = keep(file.getvalue())

    assert output.said.kept_original
    assert output.data.count(b"\xff\xd9") == 1
    assert (
        differ(output.picture(), Image.open(io.BytesIO(coded(photograph(), "JPEG", quality=5))))
        == 0
    )


def test_a_png_with_a_wrong_checksum_is_coded_again() -> None:
    source = bytearray(coded(photograph(), "PNG"))
    source[-13] ^= 1  # the checksum of the last IDAT, which IEND with its 12 bytes follows

    output = keep(bytes(source))

    assert not output.said.kept_original
    assert differ(output.picture(), photograph()) == 0


def test_transparency_of_a_kept_png_stays() -> None:
    picture = drawing().convert("P")
    source = coded(picture, "PNG", transparency=3, optimize=True)

    bare = b"".join(without_metadata(SourceFormat.PNG, source, len(source)) or [])

    assert differ(Image.open(io.BytesIO(bare)), Image.open(io.BytesIO(source))) == 0


def test_an_extended_webp_loses_the_flags_of_what_it_lost() -> None:
    source = marked("WEBP", with_hole(photograph()), quality=5)

    output = keep(source)

    assert output.said.kept_original
    assert output.data[12:16] == b"VP8X"
    assert output.data[20] == 0x10
    assert int.from_bytes(output.data[4:8], "little") == len(output.data) - 8


def test_an_avif_whose_metadata_overlaps_its_picture_is_coded_again() -> None:
    source = marked("AVIF", photograph(), quality=5)
    offsets = source.index(b"iloc")
    lengths = bytearray(source)
    first = offsets + 4 + 4 + 2 + 2
    entry = 2 + 2 + 2 + 4 + 4
    picture = lengths[first + 6 : first + 10]
    # The XMP, the third item, is made to begin where the picture does.
    lengths[first + 2 * entry + 6 : first + 2 * entry + 10] = picture

    output = keep(bytes(lengths))

    assert not output.said.kept_original


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("auto", set(KEPT_FORMATS)),
        ("keep", set(KEPT_FORMATS)),
        ("classic", {"JPEG", "PNG"}),
        ("jpeg", {"JPEG"}),
        ("png", {"PNG"}),
        ("webp", {"WEBP"}),
        ("avif", {"AVIF"}),
    ],
)
def test_only_formats_that_the_option_allows_are_kept(option: str, names: set[str]) -> None:
    def coarse(name: str) -> bytes:
        # Drawings: as JPEG larger than as PNG or GIF.
        picture = drawing() if name in ("PNG", "GIF") else photograph()
        return coded(picture, name, **({"quality": 3} if name not in ("PNG", "GIF") else {}))

    kept = {name for name in KEPT_FORMATS if keep(coarse(name), option).said.kept_original}

    assert kept <= names
    assert kept >= names - {"PNG", "GIF"}


@pytest.mark.parametrize(
    "change",
    [
        lambda: coded(photograph(), "JPEG", quality=5, icc_profile=swapped_profile()),
        lambda: coded(photograph(), "JPEG", quality=5, exif=turned()),
        lambda: coded(photograph().convert("CMYK"), "JPEG", quality=5),
    ],
    ids=["profile", "orientation", "cmyk"],
)
def test_a_picture_that_must_change_is_not_kept(change: Callable[[], bytes]) -> None:
    assert not keep(change()).said.kept_original


def turned() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


def test_a_scaled_picture_is_not_kept() -> None:
    assert not squeeze(
        coded(photograph(), "JPEG", quality=5), max_width=90, quality=95
    ).said.kept_original


@pytest.mark.parametrize("name", KEPT_FORMATS)
@pytest.mark.parametrize("quality", [5, 30, 50, 80, 95])
def test_nothing_grows_under_auto_and_keep(name: str, quality: int) -> None:
    for picture in (photograph(), drawing(), photograph(3, 2), photograph(64, 64).convert("L")):
        source = coded(picture, name, **({} if name in ("PNG", "GIF") else {"quality": 40}))
        for option in ("auto", "keep"):
            assert len(squeeze(source, option, quality=quality).data) <= len(source)


def test_the_file_holds_nothing_of_a_longer_first_attempt() -> None:
    source = small("JPEG")
    with tempfile.TemporaryFile("w+b") as target:
        compress(source, target, BatchOptions(quality=95), Limits())
        told = target.tell()
        target.seek(0)
        data = target.read()

    assert told == len(data)
    assert data.startswith(b"\xff\xd8")
    assert data.endswith(b"\xff\xd9")


@pytest.mark.parametrize("name", KEPT_FORMATS)
def test_a_container_knows_that_it_ends_early(name: str) -> None:
    source = coded(photograph(), name)
    source_format = SourceFormat("WebP" if name == "WEBP" else name)

    assert not ends_early(source_format, source)
    assert ends_early(source_format, source[: len(source) // 2])


def test_the_chunks_of_an_animation_inside_a_png_are_kept() -> None:
    source = animated("PNG", frames())
    late = source[:-12] + chunk(b"tEXt", b"Comment\0" + MARKER) + source[-12:]

    bare = b"".join(without_metadata(SourceFormat.PNG, late, len(late)) or [])

    assert MARKER not in bare
    assert Image.open(io.BytesIO(bare)).n_frames == 4
