"""Makes every picture that catalog.csv names, out of the five photographs in originals/.

Enters: the image URLs of catalog.csv, which is written by hand. Leaves: one file a URL, in this
folder or in the one given. Run it after an edit of the catalogue:

    python samples/make_samples.py [FOLDER]

A name says how its picture is made, `<view>-<width>[-<recipe>].<extension>`: `cat-eyes-240.jpg`
is the view `cat-eyes` 240 pixels wide, saved by the recipe `jpg`; `coffee-300-cmyk.jpg` is saved
by the recipe `cmyk.jpg`. With the same Pillow the same names give the same bytes.
"""

import csv
import re
import sys
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image, ImageChops, ImageCms, ImageDraw

SAMPLES = Path(__file__).parent
ORIGINALS = SAMPLES / "originals"
URL_PREFIX = "http://127.0.0.1:8000/samples/"
NAME = re.compile(r"(?P<view>[a-z-]+)-(?P<width>\d+)(-(?P<recipe>[a-z0-9-]+))?\.(?P<extension>\w+)")

NOT_A_PICTURE = "This is a note that somebody saved under the name of a picture.\n"
MISSING = "missing.jpg"  # named by the catalogue and never made: the demo's 404


class View(NamedTuple):
    """A photograph in originals/ and the part of it that is shown: left, top, right, bottom."""

    photograph: str
    box: tuple[int, int, int, int]


VIEWS = {
    "astronaut": View("astronaut.png", (0, 0, 512, 512)),
    "astronaut-portrait": View("astronaut.png", (120, 0, 340, 240)),
    "astronaut-suit": View("astronaut.png", (20, 150, 380, 512)),
    "astronaut-patch": View("astronaut.png", (70, 300, 290, 460)),
    "astronaut-helmet": View("astronaut.png", (240, 300, 512, 512)),
    "shuttle": View("astronaut.png", (300, 0, 512, 290)),
    "cat": View("chelsea.png", (0, 0, 451, 300)),
    "cat-face": View("chelsea.png", (30, 0, 400, 300)),
    "cat-eyes": View("chelsea.png", (120, 60, 380, 190)),
    "cat-nose": View("chelsea.png", (160, 150, 380, 300)),
    "cat-ear": View("chelsea.png", (220, 0, 440, 180)),
    "coffee": View("coffee.png", (0, 0, 600, 400)),
    "coffee-cup": View("coffee.png", (160, 10, 440, 310)),
    "coffee-crema": View("coffee.png", (180, 50, 420, 220)),
    "coffee-spoon": View("coffee.png", (280, 190, 500, 370)),
    "coffee-saucer": View("coffee.png", (70, 10, 490, 395)),
    "wood": View("coffee.png", (380, 0, 600, 220)),
    "rocket": View("rocket.jpg", (0, 0, 640, 427)),
    "rocket-pad": View("rocket.jpg", (220, 90, 440, 427)),
    "rocket-nose": View("rocket.jpg", (210, 100, 430, 265)),
    "rocket-lights": View("rocket.jpg", (50, 290, 500, 427)),
    "rocket-mast": View("rocket.jpg", (0, 0, 220, 330)),
    "galaxies": View("hubble_deep_field.jpg", (0, 0, 1000, 872)),
    "galaxies-wide": View("hubble_deep_field.jpg", (0, 250, 1000, 700)),
    "galaxies-spiral": View("hubble_deep_field.jpg", (20, 280, 360, 520)),
    "galaxies-cluster": View("hubble_deep_field.jpg", (200, 20, 560, 260)),
    "galaxies-star": View("hubble_deep_field.jpg", (640, 420, 1000, 680)),
    "galaxies-gold": View("hubble_deep_field.jpg", (380, 620, 860, 860)),
}


def draw_size_chart(width: int) -> Image.Image:
    """Four sheets of paper inside each other, each half the area of the one around it."""
    chart = Image.new("RGB", (width, width * 3 // 4), "#f7f5f0")
    pen = ImageDraw.Draw(chart)
    for number, colour in enumerate(("#1d3557", "#457b9d", "#a8dadc", "#e63946")):
        scale = 0.92 * 2 ** (-number / 2)
        left, bottom = width * 0.04, chart.height * 0.96
        pen.rectangle((left, bottom - chart.height * scale, width * scale, bottom), fill=colour)
    return chart


def draw_swatches(width: int) -> Image.Image:
    """Six plain colours side by side, as a shop shows what a thing is to be had in."""
    swatches = Image.new("RGB", (width, width // 3), "white")
    pen = ImageDraw.Draw(swatches)
    colours = ("#264653", "#2a9d8f", "#e9c46a", "#f4a261", "#e76f51", "#6d597a")
    step = width / len(colours)
    for number, colour in enumerate(colours):
        box = (step * (number + 0.1), step * 0.3, step * (number + 0.9), step * 1.7)
        pen.rounded_rectangle(box, radius=step / 8, fill=colour)
    return swatches


def draw_badge(width: int) -> Image.Image:
    """A round badge with a ringed planet, on a transparent ground."""
    badge = Image.new("RGBA", (width, width))
    pen = ImageDraw.Draw(badge)
    middle, line = width / 2, max(1, width // 40)
    pen.circle((middle, middle), width * 0.48, fill="#1d3557")
    pen.circle((middle, middle), width * 0.22, fill="#f4a261")
    pen.ellipse((width * 0.12, width * 0.42, width * 0.88, width * 0.58), None, "#f1faee", line)
    pen.chord(
        (middle - width * 0.22, width * 0.28, middle + width * 0.22, width * 0.72),
        180,
        360,
        "#f4a261",
    )
    return badge


DRAWINGS = {"size-chart": draw_size_chart, "swatches": draw_swatches, "badge": draw_badge}


def plain(picture: Image.Image) -> list[Image.Image]:
    return [picture]


def grey(picture: Image.Image) -> list[Image.Image]:
    return [picture.convert("L")]


def cmyk(picture: Image.Image) -> list[Image.Image]:
    return [picture.convert("CMYK")]


def lying(picture: Image.Image) -> list[Image.Image]:
    """As a camera held upright stores it: EXIF orientation 6 turns it back a quarter clockwise."""
    return [picture.transpose(Image.Transpose.ROTATE_90)]


def wide_gamut(picture: Image.Image) -> list[Image.Image]:
    """In Adobe RGB: shown as if it were sRGB, without its profile, it looks dull."""
    srgb, adobe_rgb = ImageCms.createProfile("sRGB"), open_profile(adobe_rgb_profile())
    converted = ImageCms.profileToProfile(picture, srgb, adobe_rgb)
    assert converted is not None  # it is None only when converting in place
    return [converted]


def cut_out(picture: Image.Image) -> list[Image.Image]:
    """An oval out of the picture, everything around it transparent, with a soft edge."""
    fourfold = Image.new("L", (picture.width * 4, picture.height * 4))
    ImageDraw.Draw(fourfold).ellipse((8, 8, fourfold.width - 9, fourfold.height - 9), fill=255)
    oval = fourfold.resize(picture.size, Image.Resampling.BOX)
    empty = Image.new("RGBA", picture.size)
    return [Image.composite(picture.convert("RGBA"), empty, oval)]


def turning(picture: Image.Image) -> list[Image.Image]:
    """Six frames in which the picture passes by once, from right to left."""
    return [ImageChops.offset(picture, -step * picture.width // 6, 0) for step in range(6)]


@cache
def adobe_rgb_profile() -> bytes:
    """The ICC profile that came with the rocket's photograph."""
    with Image.open(ORIGINALS / "rocket.jpg") as rocket:
        return bytes(rocket.info["icc_profile"])


def open_profile(icc_profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(BytesIO(icc_profile))


def camera_exif() -> Image.Exif:
    """What a telephone writes about a picture; the place is the Greenwich observatory."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Pressroom"
    exif[ExifTags.Base.Model] = "Sample camera"
    exif[ExifTags.Base.DateTime] = "2026:01:31 10:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            ExifTags.GPS.GPSLatitudeRef: "N",
            ExifTags.GPS.GPSLatitude: (51.0, 28.0, 40.0),
            ExifTags.GPS.GPSLongitudeRef: "W",
            ExifTags.GPS.GPSLongitude: (0.0, 0.0, 5.0),
        }
    )
    return exif


class Recipe(NamedTuple):
    """How a view becomes a file: its frames, and what Pillow's `save` is told."""

    frames: Callable[[Image.Image], list[Image.Image]]
    options: dict[str, Any]


RECIPES = {
    "jpg": Recipe(plain, {"quality": 90, "subsampling": "4:2:0"}),
    "q85.jpg": Recipe(plain, {"quality": 85, "subsampling": "4:2:0"}),
    "q95.jpg": Recipe(plain, {"quality": 95, "subsampling": "4:2:0"}),
    "444.jpg": Recipe(plain, {"quality": 92, "subsampling": "4:4:4"}),
    "progressive.jpg": Recipe(plain, {"quality": 90, "progressive": True}),
    "tight.jpg": Recipe(plain, {"quality": 30, "progressive": True, "optimize": True}),
    "grey.jpg": Recipe(grey, {"quality": 90}),
    "cmyk.jpg": Recipe(cmyk, {"quality": 90}),
    "adobe-rgb.jpg": Recipe(wide_gamut, {"quality": 92, "icc_profile": adobe_rgb_profile()}),
    "rotated.jpg": Recipe(lying, {"quality": 90, "exif": camera_exif()}),
    "png": Recipe(plain, {"optimize": True}),
    "cutout.png": Recipe(cut_out, {"optimize": True}),
    "gif": Recipe(plain, {}),
    "turning.gif": Recipe(turning, {"duration": 150, "loop": 0}),
    "webp": Recipe(plain, {"quality": 85}),
    "lossless.webp": Recipe(plain, {"lossless": True}),
    "cutout.webp": Recipe(cut_out, {"quality": 85}),
    "turning.webp": Recipe(turning, {"quality": 80, "duration": 150, "loop": 0}),
    "avif": Recipe(plain, {"quality": 75, "max_threads": 1}),
    "bmp": Recipe(plain, {}),
    "tiff": Recipe(plain, {"compression": "tiff_adobe_deflate"}),
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for name in sorted(read_names(SAMPLES / "catalog.csv") - {MISSING}):
        make_sample(name, folder / name)


def read_names(catalog: Path) -> set[str]:
    """The file names that the catalogue's image URLs end with, each once."""
    with catalog.open(encoding="utf-8", newline="") as lines:
        cells = [row["Input Image Urls"] for row in csv.DictReader(lines)]
    return {url.removeprefix(URL_PREFIX) for cell in cells if cell for url in cell.split(",")}


def make_sample(name: str, path: Path) -> None:
    """Writes one file; raises ValueError for a name that says nothing or asks to enlarge."""
    if name == "not-a-picture.jpg":
        path.write_text(NOT_A_PICTURE, encoding="utf-8")
    elif name == "truncated.jpg":
        make_picture("astronaut-300.jpg", path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        make_picture(name, path)


def make_picture(name: str, path: Path) -> None:
    parts = NAME.fullmatch(name)
    if parts is None:
        raise ValueError(f"{name}: expected <view>-<width>[-<recipe>].<extension>")
    recipe = RECIPES[".".join(filter(None, parts.group("recipe", "extension")))]
    first, *others = recipe.frames(show_view(parts["view"], int(parts["width"])))
    first.save(path, save_all=bool(others), append_images=others, **recipe.options)


def show_view(name: str, width: int) -> Image.Image:
    """The named view, `width` pixels wide and as high as its shape asks, in sRGB."""
    if name in DRAWINGS:
        return DRAWINGS[name](width)
    part = read_photograph(VIEWS[name].photograph).crop(VIEWS[name].box)
    if width > part.width:
        raise ValueError(f"{name}: {width} pixels would enlarge a view {part.width} pixels wide")
    height = round(part.height * width / part.width)
    return part.resize((width, height), Image.Resampling.LANCZOS)


@cache
def read_photograph(name: str) -> Image.Image:
    """A photograph's pixels in sRGB, without its metadata: samples get theirs from recipes."""
    with Image.open(ORIGINALS / name) as photograph:
        pixels = photograph.convert("RGB")
    if icc_profile := pixels.info.get("icc_profile"):
        srgb = ImageCms.createProfile("sRGB")
        ImageCms.profileToProfile(pixels, open_profile(icc_profile), srgb, inPlace=True)
    pixels.info.clear()
    return pixels


if __name__ == "__main__":
    main()
