"""What is no image, too large, cut off or broken is that image's failure and nobody else's."""

import contextlib
import random
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, PngImagePlugin
from test_compress import READ, animated, coded, drawing, frames, photograph, squeeze
from test_compress_colours import chunk

from app.compress import Limits
from app.compress.containers import gif_blocks
from app.compress.reading import opened
from app.errors import ImageFailed

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def failure(source: bytes, option: str = "auto", limits: Limits | None = None) -> ImageFailed:
    with pytest.raises(ImageFailed) as e:
        squeeze(source, option, limits=limits)
    assert e.value.permanent
    return e.value


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\xef\xbb\xbf <!-- logo --> <SVG width='1'>", "SVG"),
        (b"8BPS\0\1" + bytes(30), "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), "JPEG 2000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (box(b"ftyp", b"heic", bytes(4), b"mif1heic"), "HEIC"),
        (box(b"ftyp", b"mif1", bytes(4), b"mif1heic"), "HE"),
        (b"\0\0\1\0\1\0" + bytes(30), "ICO"),
        (b"\xff\x0a\xfa\x7f" + bytes(30), "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(30), "camera raw"),
        (b"P6\n1 1\n255\n\0\0\0", "Netpbm"),
        (b"qoif" + bytes(30), "QOI"),
    ],
)
def test_other_image_formats_are_named(source: bytes, name: str) -> None:
    failed = failure(source)

    assert failed.code == "unsupported_format"
    assert name in str(failed)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
        (b"\r\n\r\n<HTML>", "an HTML page"),
        (b"<html><body><svg></svg></body></html>", "SVG|an HTML page"),
        (b'{"error": "not found"}', "JSON"),
        (b"<Error><Code>AccessDenied</Code></Error>", "an XML or HTML document"),
        (b"Not Found\n", "text"),
        (b"BM is not always a bitmap, it may be a text", "text"),
        ("Bild nicht verfügbar".encode(), "text"),
        (b"", "nothing"),
        (b"   \n", "an empty page"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\3\4" + bytes(30), "a ZIP"),
        (b"\x1f\x8b\x08" + bytes(30), "a gzip"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a sound"),
        (box(b"ftyp", b"isom", bytes(4), b"mp42"), "a film"),
        (bytes(200), "no known image format"),
        (random.Random(4).randbytes(400), "no known image format"),
    ],
)
def test_what_came_instead_of_an_image_is_said(source: bytes, what: str) -> None:
    failed = failure(source)

    assert failed.code in ("not_an_image", "unsupported_format")
    assert any(choice in str(failed) for choice in what.split("|"))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(40)))
    return PNG_SIGNATURE + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int) -> bytes:
    source = bytearray(coded(photograph(), "JPEG"))
    at = source.index(b"\xff\xc0") + 5
    source[at : at + 4] = struct.pack(">2H", height, width)
    return bytes(source)


def gif_of(width: int, height: int) -> bytes:
    source = bytearray(coded(drawing(), "GIF"))
    source[6:10] = struct.pack("<2H", width, height)
    return bytes(source)


def webp_of(width: int, height: int) -> bytes:
    source = bytearray(animated("WEBP"))
    source[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(source)


def bmp_of(width: int, height: int) -> bytes:
    source = bytearray(coded(photograph(), "BMP"))
    source[18:26] = struct.pack("<2i", width, height)
    return bytes(source)


def tiff_of(width: int, height: int) -> bytes:
    source = coded(Image.new("L", (7, 7)), "TIFF")
    for tag, value in ((256, width), (257, height)):
        entry = struct.pack("<HHII", tag, 4, 1, 7)
        assert entry in source
        source = source.replace(entry, struct.pack("<HHII", tag, 4, 1, value))
    return source


@pytest.mark.parametrize(
    "source",
    [
        png_of(100_000, 100_000),
        png_of(2**31 - 1, 2**31 - 1),
        jpeg_of(65_000, 65_000),
        gif_of(65_535, 65_535),
        webp_of(2**24, 2**24 - 1),
        bmp_of(100_000, 100_000),
        tiff_of(100_000, 100_000),
    ],
    ids=["png", "largest png", "jpeg", "gif", "webp", "bmp", "tiff"],
)
def test_too_many_pixels_are_refused_before_any_is_decoded(source: bytes) -> None:
    started = time.perf_counter()

    failed = failure(source)

    assert failed.code == "too_many_pixels"
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("name", READ)
def test_the_limit_of_pixels_can_be_set(name: str) -> None:
    source = coded(photograph(100, 50), name)

    assert failure(source, limits=Limits(max_pixels=4_999)).code == "too_many_pixels"
    assert squeeze(source, limits=Limits(max_pixels=5_000)).said.width == 100


def test_limits_above_pillows_own_are_honoured() -> None:
    with opened(png_of(20_000, 20_000), Limits(max_pixels=400_000_000)) as (header, _):
        pass

    assert header.pixels == 400_000_000


def test_a_second_header_does_not_get_around_the_limit() -> None:
    second = chunk(b"IHDR", struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0))

    assert failure(png_of(10, 10, second)).code == "too_many_pixels"


def test_a_header_that_does_not_come_first_is_refused() -> None:
    late = chunk(b"tEXt", b"Comment\0" + bytes(20))
    source = png_of(60_000, 60_000)

    assert failure(PNG_SIGNATURE + late + source[8:]).code == "decode_failed"


def test_a_frame_of_a_gif_far_beyond_its_canvas_is_refused() -> None:
    source = bytearray(animated("GIF", [drawing(), drawing().rotate(180)]))
    at = source.rindex(b"\x2c", 0, source.rindex(b"\x2c") + 1)
    source[at + 1 : at + 5] = struct.pack("<2H", 65_000, 65_000)

    assert failure(bytes(source)).code in ("too_many_pixels", "truncated", "decode_failed")


@pytest.mark.parametrize("claimed", [201, 2**31 - 1, 2**31, 2**32 - 1])
def test_frames_are_not_believed_but_counted_as_claimed(claimed: int) -> None:
    source = png_of(10, 10, chunk(b"acTL", struct.pack(">2I", claimed, 0)))

    assert failure(source).code == "too_many_frames"


def test_an_apng_with_more_frames_than_it_claims_is_refused_too() -> None:
    source = animated("PNG", [Image.new("L", (9, 9), step) for step in range(0, 60, 4)])
    at = source.index(b"acTL")
    fewer = chunk(b"acTL", struct.pack(">2I", 2, 0))

    source = source[: at - 4] + fewer + source[at + 16 :]

    assert failure(source, limits=Limits(max_frames=10)).code == "too_many_frames"


def test_an_apng_with_fewer_frames_than_it_claims_is_truncated() -> None:
    source = animated("PNG", frames(3))
    at = source.index(b"acTL")
    more = chunk(b"acTL", struct.pack(">2I", 9, 0))

    assert failure(source[: at - 4] + more + source[at + 16 :]).code == "truncated"


def test_a_gif_of_endless_frames_is_given_up_early() -> None:
    one = coded(Image.new("L", (1, 1)), "GIF")
    start = one.index(b"\x2c")
    source = one[:-1] + one[start:-1] * 500_000 + b";"
    started = time.perf_counter()

    assert failure(source).code == "too_many_frames"
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_bombs_in_the_metadata_of_a_png_are_refused(kind: str) -> None:
    packed = zlib.compress(bytes(80_000_000), 9)
    body = {
        "zTXt": b"Comment\0\0" + packed,
        "iTXt": b"Comment\0\1\0\0\0" + packed,
        "iCCP": b"profile\0\0" + packed,
    }[kind]
    source = coded(photograph(), "PNG")

    assert failure(source[:33] + chunk(kind.encode(), body) + source[33:]).code == "decode_failed"


def test_texts_of_a_png_have_a_limit_together() -> None:
    info = PngImagePlugin.PngInfo()
    for number in range(70):
        info.add_text(f"Comment {number}", "a" * 1_000_000, zip=True)

    assert failure(coded(photograph(), "PNG", pnginfo=info)).code == "decode_failed"


def stored(name: str) -> bytes:
    if name.startswith("animated "):
        return animated(name.removeprefix("animated "))
    settings: dict[str, object] = {"JPEG": {"quality": 30}, "AVIF": {"quality": 20}}.get(name, {})
    return coded(photograph(90, 60), name, **settings)


KINDS = [*READ, "animated GIF", "animated PNG", "animated WEBP", "animated AVIF"]


def frame_ends(source: bytes) -> set[int]:
    """Where a GIF may have lost nothing but the one byte that ends it, as some programs omit it."""
    return {end for _, _, end in gif_blocks(source)}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_cut_anywhere_fails_cleanly_or_lacks_no_pixel(name: str) -> None:
    source = stored(name)
    cuts = {*range(0, 64, 3), *range(64, len(source), max(1, len(source) // 40)), len(source) - 1}
    codes = set()

    for cut in sorted(cuts):
        try:
            output = squeeze(source[:cut], "png")
        except ImageFailed as error:
            codes.add(error.code)
        else:
            # Only what a container ends with was missing.
            whole_frames = name == "animated GIF" and cut in frame_ends(source)
            assert len(source) - cut <= 16 or whole_frames
            assert not output.said.kept_original or name == "PNG"

    assert codes <= {"truncated", "not_an_image", "decode_failed"}
    assert "truncated" in codes


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_half_a_file_is_truncated(name: str, share: float) -> None:
    source = stored(name)

    failed = failure(source[: int(len(source) * share)])

    assert failed.code == "truncated"
    assert f"{int(len(source) * share):,} bytes" in str(failed)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", KINDS)
def test_mutated_files_fail_cleanly(name: str) -> None:
    source = stored(name)
    randomly = random.Random(name)

    for _ in range(30):
        mutated = bytearray(source)
        for _ in range(randomly.choice((1, 2, 8, 40))):
            # Headers matter most: half of the changes go there.
            span = min(randomly.choice((80, 600, len(source))), len(mutated))
            at = randomly.randrange(span)
            match randomly.randrange(4):
                case 0:
                    mutated[at] = randomly.randrange(256)
                case 1:
                    mutated[at : at + 4] = randomly.choice(
                        (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff")
                    )
                case 2:
                    del mutated[at : at + randomly.randrange(9)]
                case _:
                    mutated[at:at] = randomly.randbytes(randomly.randrange(9))
        option = randomly.choice(("auto", "keep", "png", "webp", "jpeg"))
        with contextlib.suppress(ImageFailed):
            squeeze(bytes(mutated), option, limits=Limits(max_pixels=200_000))


def test_a_decoder_out_of_memory_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source = stored("JPEG")

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", exhausted)

    with pytest.raises(ImageFailed, match="not enough memory") as e:
        squeeze(source)
    assert not e.value.permanent


def test_many_threads_code_at_once_without_disturbing_each_other() -> None:
    sources = [stored(name) for name in KINDS] + [b"<html>", stored("PNG")[:700]]
    expected = [attempt(source) for source in sources]

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(attempt, sources * 6))

    assert results == expected * 6


def attempt(source: bytes) -> bytes | str:
    try:
        return squeeze(source).data
    except ImageFailed as error:
        return str(error)
