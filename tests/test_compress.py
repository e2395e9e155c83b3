"""Every format in, every option out. The pictures made here serve the other tests of compress."""

import errno
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw

from app.compress import MEDIA_TYPES, Compressed, Limits, compress
from app.compress.reading import opened
from app.errors import ImageFailed
from app.models import BatchOptions, OutputFormat

READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
PILLOW_NAMES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "gif": "GIF"}


@dataclass(frozen=True)
class Output:
    said: Compressed
    data: bytes

    def picture(self) -> Image.Image:
        """The decoded output, which must be of the format that its extension names."""
        picture = Image.open(io.BytesIO(self.data))
        assert picture.format == PILLOW_NAMES[self.said.extension]
        assert picture.size == (self.said.width, self.said.height)
        picture.load()
        return picture


def squeeze(
    source: bytes, option: str = "auto", *, limits: Limits | None = None, **options: int
) -> Output:
    with tempfile.TemporaryFile("w+b") as target:
        chosen = BatchOptions(format=OutputFormat(option), **options)
        said = compress(source, target, chosen, limits or Limits())
        target.seek(0)
        return Output(said, target.read())


def coded(picture: Image.Image, name: str, **settings: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **settings)
    return file.getvalue()


def photograph(width: int = 180, height: int = 120) -> Image.Image:
    """Thousands of colours, smooth and rough parts, the same on every call."""
    x = Image.linear_gradient("L").resize((width, height))
    y = Image.linear_gradient("L").rotate(90).resize((width, height))
    picture = Image.merge("RGB", (x, y, Image.radial_gradient("L").resize((width, height))))
    draw = ImageDraw.Draw(picture)
    for step in range(0, width, 7):
        draw.line((step, 0, width - step, height), fill=(step * 3 % 256,) * 3, width=3)
    return picture


def drawing(mode: str = "RGB", size: tuple[int, int] = (120, 80)) -> Image.Image:
    """Four colours; with an alpha channel its background is transparent."""
    picture = Image.new(mode, size, (0, 0, 0, 0) if mode == "RGBA" else "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((10, 10, 50, 60), fill="red")
    draw.ellipse((40, 20, 100, 70), fill="blue")
    draw.line((0, 0, 119, 79), fill="black", width=3)
    return picture


def with_hole(picture: Image.Image) -> Image.Image:
    """A photograph whose left edge is transparent."""
    mask = Image.new("L", picture.size, 255)
    mask.paste(0, (0, 0, 20, picture.height))
    holed = picture.convert("RGBA")
    holed.putalpha(mask)
    return holed


def frames(count: int = 4) -> list[Image.Image]:
    """A red disc that wanders over a transparent ground."""
    made = []
    for step in range(count):
        frame = Image.new("RGBA", (60, 40))
        left = 8 * step
        ImageDraw.Draw(frame).ellipse((left, 5, left + 20, 30), fill=(200, 40 * step, 0, 255))
        made.append(frame)
    return made


def animated(name: str, pictures: list[Image.Image] | None = None, **settings: object) -> bytes:
    first, *others = pictures or frames()
    return coded(first, name, save_all=True, append_images=others, duration=100, **settings)


def differ(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any channel of any pixel."""
    difference = ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))
    return max(high for _, high in difference.getextrema())


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).tobytes()
    return sum(difference) / len(difference)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("option", list(OutputFormat))
def test_every_format_comes_out_as_every_option_asks(name: str, option: OutputFormat) -> None:
    lossless = {"PNG", "GIF", "BMP", "TIFF"}
    source = coded(photograph(), name, **({} if name in lossless else {"quality": 95}))

    output = squeeze(source, option, quality=50)

    expected = {
        "auto": {"webp", "png", "gif"} if name == "GIF" else {"jpg"},
        "classic": {"jpg"},
        "jpeg": {"jpg"},
        "webp": {"webp"},
        "avif": {"avif"},
        "png": {"png"},
        "keep": {{"JPEG": "jpg", "BMP": "png", "TIFF": "png"}.get(name, name.lower())},
    }[option]
    assert output.said.extension in expected
    assert output.said.extension in MEDIA_TYPES
    assert mean_difference(output.picture(), photograph()) < 12


def test_an_opaque_photograph_becomes_jpeg() -> None:
    assert squeeze(coded(photograph(), "PNG")).said.extension == "jpg"


def test_an_alpha_channel_that_hides_nothing_is_opaque() -> None:
    assert squeeze(coded(photograph().convert("RGBA"), "PNG")).said.extension == "jpg"


def test_a_transparent_photograph_becomes_webp_and_stays_transparent() -> None:
    output = squeeze(coded(with_hole(photograph()), "PNG"))

    assert output.said.extension == "webp"
    assert output.picture().getpixel((5, 60))[3] == 0
    assert output.picture().getpixel((100, 60))[3] == 255


def test_a_transparent_photograph_is_png_under_classic() -> None:
    output = squeeze(coded(with_hole(photograph()), "WEBP", lossless=True), "classic")

    assert output.said.extension == "png"
    assert output.picture().getpixel((5, 60))[3] == 0


def test_jpeg_puts_transparency_on_white() -> None:
    output = squeeze(coded(with_hole(photograph()), "PNG"), "jpeg", quality=90)

    assert min(output.picture().getpixel((5, 60))) > 245


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "GIF"])
def test_a_picture_of_few_colours_loses_nothing(name: str) -> None:
    output = squeeze(coded(drawing(), name))

    assert output.said.extension in ("png", "webp", "gif")
    assert differ(output.picture(), drawing()) == 0


def test_few_colours_come_as_the_smaller_of_png_and_webp() -> None:
    # Noise in four colours: deflate has the edge over WebP's predictors or the reverse, and
    # whichever it is must be what comes out.
    picture = Image.effect_noise((64, 64), 200).point(lambda value: value // 64 * 80)
    picture = Image.merge("RGB", (picture, picture, Image.new("L", picture.size, 9)))
    source = coded(picture, "BMP")

    output = squeeze(source)

    as_png = len(squeeze(source, "png").data)
    as_webp = len(coded(picture, "WEBP", lossless=True, quality=50, method=4))
    assert len(output.data) == min(as_png, as_webp)


def test_a_transparent_drawing_loses_nothing() -> None:
    output = squeeze(coded(drawing("RGBA"), "PNG"))

    assert output.said.extension in ("webp", "png")
    assert differ(output.picture(), drawing("RGBA")) == 0


def test_png_of_few_colours_has_a_palette() -> None:
    output = squeeze(coded(drawing(), "BMP"), "png")

    assert output.picture().mode == "P"


def test_a_grey_photograph_is_no_drawing_although_it_has_256_colours() -> None:
    output = squeeze(coded(photograph().convert("L"), "PNG"))

    assert output.said.extension == "jpg"
    assert output.picture().mode == "L"


def test_a_grey_drawing_loses_nothing() -> None:
    source = coded(drawing().convert("L"), "PNG")

    output = squeeze(source)

    assert output.said.extension in ("png", "webp")
    assert differ(output.picture(), drawing().convert("L")) == 0


def test_a_scaled_drawing_is_never_larger_than_as_jpeg() -> None:
    source = coded(drawing(size=(1200, 800)), "PNG")

    output = squeeze(source, max_width=300)

    assert len(output.data) <= len(squeeze(source, "jpeg", max_width=300).data)


def test_quality_makes_the_difference_for_lossy_output() -> None:
    source = coded(photograph(), "PNG")

    for option in ("jpeg", "webp", "avif"):
        small, large = (squeeze(source, option, quality=quality) for quality in (20, 90))
        assert len(small.data) < len(large.data)


def test_optimized_jpeg_is_smaller() -> None:
    source = coded(photograph(400, 300), "PNG")
    sizes = []
    for optimize in (True, False):
        with tempfile.TemporaryFile("w+b") as target:
            compress(source, target, BatchOptions(), Limits(), jpeg_optimize=optimize)
            sizes.append(os.fstat(target.fileno()).st_size)

    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("quality", [1, 91, 94, 95])
def test_noise_is_coded_at_any_quality(quality: int) -> None:
    noise = Image.merge("RGB", [Image.effect_noise((500, 500), 120) for _ in range(3)])

    output = squeeze(coded(noise, "PNG", compress_level=1), quality=quality)

    assert output.picture().size == (500, 500)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"max_width": 90}, (90, 60)),
        ({"max_height": 40}, (60, 40)),
        ({"max_width": 90, "max_height": 10}, (15, 10)),
        ({"max_width": 5000, "max_height": 5000}, (180, 120)),
        ({"max_width": 1}, (1, 1)),
        ({"max_width": 7}, (7, 5)),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF"])
def test_pictures_fit_inside_and_are_never_enlarged(
    name: str, options: dict[str, int], size: tuple[int, int]
) -> None:
    assert squeeze(coded(photograph(), name), **options).picture().size == size


def test_a_thin_picture_keeps_a_pixel() -> None:
    assert squeeze(coded(photograph(900, 2), "PNG"), max_width=10).picture().size == (10, 1)


def test_a_reduced_jpeg_looks_like_the_large_one() -> None:
    large = photograph(1600, 1200)

    output = squeeze(coded(large, "JPEG", quality=95), max_width=160, quality=95)

    assert mean_difference(output.picture(), large.resize((160, 120), Image.LANCZOS)) < 4


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("max_width", [None, 60])
def test_exif_orientation_is_applied_and_then_the_limits(
    name: str, orientation: int, max_width: int | None
) -> None:
    turns = {
        2: Image.FLIP_LEFT_RIGHT,
        3: Image.ROTATE_180,
        4: Image.FLIP_TOP_BOTTOM,
        5: Image.TRANSPOSE,
        6: Image.ROTATE_270,
        7: Image.TRANSVERSE,
        8: Image.ROTATE_90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    came = photograph()
    expected = came.transpose(turns[orientation]) if orientation in turns else came
    if max_width:
        height = round(expected.height * max_width / expected.width)
        expected = expected.resize((max_width, height), Image.LANCZOS)

    source = coded(came, name, exif=exif, **({} if name in ("PNG", "TIFF") else {"quality": 95}))
    output = squeeze(source, "png", **({"max_width": max_width} if max_width else {}))

    assert output.picture().size == expected.size
    assert mean_difference(output.picture(), expected) < 6


def test_orientations_that_do_not_exist_are_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77

    assert squeeze(coded(photograph(), "JPEG", exif=exif)).picture().size == (180, 120)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_does_not_lose_the_picture() -> None:
    source = coded(photograph(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense")

    assert squeeze(source).picture().size == (180, 120)


def test_a_header_tells_format_size_and_frames() -> None:
    with opened(coded(photograph(), "AVIF"), Limits()) as (still, _):
        pass
    with opened(animated("GIF"), Limits()) as (moving, _):
        pass

    assert (still.format, still.width, still.height, still.frames) == ("AVIF", 180, 120, 1)
    assert (moving.format, moving.pixels, moving.frames) == ("GIF", 2400, 4)


@pytest.mark.parametrize("side", [16_400, 65_501])
def test_pictures_too_long_for_the_usual_format_become_png(side: int) -> None:
    source = coded(with_hole(photograph(side, 3)), "PNG", compress_level=1)

    assert squeeze(source, "auto").said.extension == "png"


def test_pictures_too_long_for_the_named_format_say_so() -> None:
    source = coded(photograph(16_400, 2), "PNG", compress_level=1)

    with pytest.raises(ImageFailed, match=r"webp holds at most 16,383 a side: set max_width") as e:
        squeeze(source, "webp")
    assert e.value.code == "too_many_pixels"


@pytest.mark.parametrize("option", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("optimize", [True, False])
def test_a_full_disk_is_not_the_images_fault(option: str, optimize: bool) -> None:
    source = coded(photograph(), "PNG")
    options = BatchOptions(format=OutputFormat(option))

    with (
        Path("/dev/full").open("r+b", buffering=0) as target,
        pytest.raises(OSError, match="No space left") as e,
    ):
        compress(source, target, options, Limits(), jpeg_optimize=optimize)

    assert e.value.errno == errno.ENOSPC
