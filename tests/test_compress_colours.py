"""Whatever colours come in, 8-bit sRGB goes out."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageCms
from test_compress import coded, differ, drawing, mean_difference, photograph, squeeze

SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))


def tag_data(kind: bytes, body: bytes) -> bytes:
    data = kind + bytes(4) + body
    return data + bytes(-len(data) % 4)


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display profile of version 2 (ICC.1:2001, 6.1 and 6.2)."""
    table, body = b"", b""
    first = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">2I", first + len(body), len(data))
        body += data
    header = struct.pack(">I", first + len(body)) + bytes(4) + b"\x02\x10\0\0mntr" + space
    header += b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def matrix_profile(
    red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], gamma: float = 2.2
) -> bytes:
    def place(xyz: tuple[float, ...]) -> bytes:
        return tag_data(b"XYZ ", struct.pack(">3i", *(round(value * 65536) for value in xyz)))

    curve = tag_data(b"curv", struct.pack(">IH", 1, round(gamma * 256)))
    colorants = {b"rXYZ": place(red), b"gXYZ": place(green), b"bXYZ": place(blue)}
    curves = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    white = {b"wtpt": place((0.9642, 1, 0.8249))}
    return profile(b"RGB ", {**white, **colorants, **curves})


def swapped_profile() -> bytes:
    """What it calls red is sRGB's green, and the reverse."""
    red, green, blue = SRGB_PRIMARIES
    return matrix_profile(green, red, blue)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_an_embedded_profile_is_converted(name: str) -> None:
    source = coded(Image.new("RGB", (40, 40), (200, 20, 20)), name, icc_profile=swapped_profile())

    red, green, blue = squeeze(source, "png").picture().convert("RGB").getpixel((20, 20))

    assert green > 190
    assert max(red, blue) < 50


def test_a_converted_profile_keeps_transparency() -> None:
    source = coded(drawing("RGBA"), "PNG", icc_profile=swapped_profile())

    output = squeeze(source, "png").picture()

    assert output.getpixel((2, 70))[3] == 0
    assert output.getpixel((20, 40))[1] > 200


def test_a_picture_with_another_profile_is_never_kept_as_it_came() -> None:
    source = coded(photograph(), "JPEG", quality=5, icc_profile=swapped_profile())

    output = squeeze(source, quality=95)

    assert not output.said.kept_original


def test_an_srgb_profile_changes_nothing_and_is_left_out() -> None:
    source = coded(drawing(), "PNG", icc_profile=srgb_profile())

    output = squeeze(source, "png")

    assert differ(output.picture(), drawing()) == 0
    assert "icc_profile" not in output.picture().info


@pytest.mark.parametrize("broken", [b"nonsense", b"\0" * 200, srgb_profile()[:300]])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_broken_profile_means_srgb(mode: str, broken: bytes) -> None:
    plain = photograph().convert(mode)

    with_profile = squeeze(coded(plain, "TIFF", icc_profile=broken), "png")

    assert differ(with_profile.picture(), squeeze(coded(plain, "TIFF"), "png").picture()) == 0


def test_a_profile_for_another_kind_of_picture_is_ignored() -> None:
    grey = photograph().convert("L")

    output = squeeze(coded(grey, "PNG", icc_profile=swapped_profile()), "png")

    assert differ(output.picture(), grey) == 0


def test_a_grey_profile_is_converted_and_stays_grey() -> None:
    curve = tag_data(b"curv", struct.pack(">IH", 1, 256))
    white = tag_data(b"XYZ ", struct.pack(">3i", 63190, 65536, 54061))
    linear = profile(b"GRAY", {b"wtpt": white, b"kTRC": curve})
    source = coded(Image.new("L", (40, 40), 55), "JPEG", quality=95, icc_profile=linear)

    output = squeeze(source, "jpeg", quality=95).picture()

    assert output.mode == "L"
    assert 124 <= output.getpixel((20, 20)) <= 132  # (55 / 255) ** (1 / 2.4), about half


def test_cmyk_is_converted() -> None:
    source = coded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG", quality=95)

    red, green, blue = squeeze(source, "png").picture().convert("RGB").getpixel((20, 20))

    assert red > 240
    assert max(green, blue) < 15


def test_cmyk_is_converted_even_where_it_would_be_smaller_as_it_came() -> None:
    source = coded(photograph().convert("CMYK"), "JPEG", quality=5)

    output = squeeze(source, quality=95)

    assert not output.said.kept_original
    assert output.picture().mode == "RGB"


def test_tiff_in_lab_is_converted() -> None:
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (40, 40), (200, 30, 60)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )

    output = squeeze(coded(lab, "TIFF"), "png").picture().convert("RGB")

    assert differ(output, Image.new("RGB", (40, 40), (200, 30, 60))) <= 6


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(name: str) -> None:
    ramp = Image.new("I;16", (4, 64))
    ramp.putdata([0, 257 * 64, 257 * 128, 65535] * 64)

    output = squeeze(coded(ramp, name), "webp").picture().convert("L")

    assert [output.getpixel((x, 9)) for x in range(4)] == [0, 64, 128, 255]


def test_16_bit_grey_in_the_other_byte_order_is_scaled_too() -> None:
    ramp = Image.frombytes("I;16B", (3, 1), struct.pack(">3H", 0, 257 * 100, 65535))

    assert squeeze(coded(ramp, "TIFF"), "png").picture().convert("L").tobytes() == b"\x00\x64\xff"


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("F", [0.0, 0.5, 1.0]),
        ("F", [0.0, 127.0, 255.0]),
        ("F", [-4.0, 500.0, 1e6]),
        ("F", [0.0, float("inf"), float("nan")]),
        ("I", [0, 128, 255]),
        ("I", [0, 32896, 65535]),
        ("I", [-5, 0, 2**30]),
    ],
)
def test_32_bit_tiff_is_brought_into_range(mode: str, values: list[float]) -> None:
    picture = Image.new(mode, (3, 1))
    picture.putdata(values)

    output = squeeze(coded(picture, "TIFF"), "png").picture().convert("L")

    assert output.getpixel((0, 0)) == 0
    if values[1:] != [float("inf"), values[2]] and values[0] == 0:
        assert abs(output.getpixel((1, 0)) - 128) <= 1
        assert output.getpixel((2, 0)) == 255


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP"])
def test_black_and_white_stays_black_and_white(name: str) -> None:
    page = drawing().convert("1")

    output = squeeze(coded(page, name))

    assert differ(output.picture(), page) == 0


@pytest.mark.parametrize(
    ("mode", "name"), [("P", "PNG"), ("LA", "PNG"), ("LA", "TIFF"), ("P", "GIF"), ("PA", "TIFF")]
)
def test_other_modes_look_the_same(mode: str, name: str) -> None:
    picture = drawing("RGBA").convert("LA" if mode == "LA" else "RGBA")
    if mode in ("P", "PA"):
        picture = drawing().convert("P").convert(mode)

    output = squeeze(coded(picture, name), "png")

    assert differ(output.picture(), picture.convert("RGBA")) == 0


@pytest.mark.parametrize(
    ("straight", "premultiplied", "colour"),
    [("LA", "La", (100, 128)), ("RGBA", "RGBa", (100, 40, 200, 128))],
)
def test_premultiplied_tiff_is_divided_again(
    straight: str, premultiplied: str, colour: tuple[int, ...]
) -> None:
    picture = Image.new(straight, (8, 8), colour)
    stored = Image.frombytes(straight, (8, 8), picture.convert(premultiplied).tobytes())
    extra_samples = b"\x52\x01\x03\0\x01\0\0\0"
    source = coded(stored, "TIFF").replace(extra_samples + b"\x02", extra_samples + b"\x01")

    output = squeeze(source, "png").picture()

    assert differ(output, picture) <= 3


def test_transparent_colour_of_png_is_transparent() -> None:
    source = coded(drawing(), "PNG", transparency=(255, 255, 255))

    output = squeeze(source)

    assert output.picture().convert("RGBA").getpixel((2, 70))[3] == 0
    assert output.picture().convert("RGBA").getpixel((20, 40)) == (255, 0, 0, 255)


def test_transparent_palette_entries_of_png_are_transparent() -> None:
    picture = drawing().convert("P")
    source = coded(picture, "PNG", transparency=bytes([128] * 256))

    assert squeeze(source, "png").picture().convert("RGBA").getextrema()[3] == (128, 128)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_the_gamma_of_a_png_is_honoured_as_browsers_do() -> None:
    source = coded(Image.new("RGB", (4, 4), (55, 55, 55)), "PNG")
    linear = source[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + source[33:]

    output = squeeze(linear, "png")

    assert abs(output.picture().convert("RGB").getpixel((0, 0))[0] - 127) <= 2
    assert not output.said.kept_original


def test_the_usual_gamma_of_a_png_changes_nothing() -> None:
    source = coded(drawing(), "PNG")
    usual = source[:33] + chunk(b"gAMA", struct.pack(">I", 45_455)) + source[33:]

    assert differ(squeeze(usual, "png").picture(), drawing()) == 0


def test_a_grey_jpeg_stays_grey() -> None:
    source = coded(photograph().convert("L"), "JPEG", quality=95)

    output = squeeze(source, "jpeg")

    assert output.picture().mode == "L"
    assert mean_difference(output.picture(), photograph().convert("L")) < 6


def test_a_reduced_cmyk_jpeg_with_a_profile_is_converted() -> None:
    source = coded(photograph(800, 600).convert("CMYK"), "JPEG", icc_profile=b"broken")

    assert squeeze(source, max_width=100).picture().mode == "RGB"


def test_an_adobe_rgb_jpeg_is_read_as_rgb() -> None:
    file = io.BytesIO()
    photograph().save(file, "JPEG", quality=95, keep_rgb=True)

    output = squeeze(file.getvalue(), "png")

    assert mean_difference(output.picture(), photograph()) < 5
