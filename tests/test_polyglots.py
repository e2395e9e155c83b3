"""A picture that is another file too comes out as nothing but a picture."""

import io
import zipfile

import pytest
from PIL import Image
from test_compress import coded, photograph
from test_compress_colours import chunk
from test_compress_containers import keep, small

from app.compress.containers import png_chunks

PAGE = b"<HTML><script>alert(4711)</script>"
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("evil.txt", b"evil" * 9)
    return file.getvalue()


def assert_nothing_but_a_picture(output):
    assert output.picture().size == (180, 120)
    assert not zipfile.is_zipfile(io.BytesIO(output.data))
    assert b"<html" not in output.data.lower()
    assert b"evil" not in output.data
    assert b"%PDF" not in output.data


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("tail", [PAGE, archive(), b"%PDF-1.7\n"], ids=["page", "zip", "pdf"])
def test_what_is_put_behind_a_picture_is_gone_while_the_picture_is_kept(name, tail):
    output = keep(small(name) + tail)

    assert output.said.kept_original
    assert_nothing_but_a_picture(output)


@pytest.mark.parametrize("payload", [PAGE, archive(), b"%PDF-1.7\n"], ids=["page", "zip", "pdf"])
def test_what_is_put_before_the_end_of_a_jpeg_s_pixels_is_gone(payload):
    source = coded(photograph(), "JPEG", quality=5)
    stuffed = payload.replace(b"\xff", b"\xff\0")

    output = keep(source[:-2] + stuffed + source[-2:])

    assert_nothing_but_a_picture(output)


def test_what_is_put_behind_a_png_s_pixels_in_their_own_chunk_is_gone():
    source = coded(photograph(), "PNG", compress_level=9)
    pixels = b"".join(source[s + 8 : e - 4] for kind, s, e in png_chunks(source) if kind == b"IDAT")
    header = source[: 8 + 25]

    output = keep(header + chunk(b"IDAT", pixels + archive()) + chunk(b"IEND", b""), "png")

    assert_nothing_but_a_picture(output)


def test_what_is_put_behind_a_gif_s_pixels_in_their_own_blocks_is_gone():
    source = coded(photograph().quantize(200), "GIF")
    hidden = archive()
    assert source.endswith(b"\0;")

    output = keep(source[:-2] + bytes((len(hidden),)) + hidden + b"\0;")

    assert_nothing_but_a_picture(output)


def test_a_page_in_the_colours_of_a_picture_is_not_kept():
    palette = PAGE.ljust(48, b" ")
    picture = Image.frombytes("P", (64, 64), bytes(n % 16 for n in range(4096)))
    picture.putpalette(palette)
    source = coded(picture, "PNG")
    assert PAGE in source

    assert not keep(source, "png").said.kept_original


def test_a_bitmap_whose_size_is_a_page_is_coded_again():
    source = coded(photograph(), "BMP") + PAGE

    assert_nothing_but_a_picture(keep(source))


def test_a_picture_without_another_file_is_kept_as_before():
    assert keep(coded(photograph(), "JPEG", quality=5)).said.kept_original
