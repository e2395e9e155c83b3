"""Brings pictures to 8-bit sRGB, and tells graphics of few colours from photographs.

In: a decoded Pillow image of any mode. Out: one of mode L, LA, RGB or RGBA. Called by
`app.compress` and `app.compress.animation`.
"""

import io
import math
from enum import Enum
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms

FEW = 256
# Any grey picture has 256 colours at most, photographs too. Up to 16 greys it is a graphic; above,
# this many bits a pixel (Shannon's) leave open whether it is a scanned page or a photograph.
_FEW_GREYS, _DOUBTFUL_GREY_BITS = 16, 5

# Differences from sRGB, of 255, below which converting would change nothing that is seen:
# sRGB profiles of different makers differ by 1 or 2.
_SAME_COLOUR = 3
_CACHED_PROFILE_BYTES = 65_536
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
# lcms remembers the last pixel inside a transform unless told not to.
_CMS_FLAGS = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION
_SRGB_GAMMA = 1 / 2.2


class Content(Enum):
    GRAPHIC = "few colours"
    DOUBTFUL = "few colours, or a photograph"
    PHOTOGRAPH = "a photograph"


def to_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as 8-bit sRGB with an alpha channel only where one is used.

    The second value says whether the colours changed, so that the coded original would show
    others without its profile. Profiles that are broken or for another mode are left out.
    """
    plain, alpha = _split(image)
    picture, changed = _apply_profile(plain, image.info.get("icc_profile"))
    if not changed:
        picture, changed = _apply_gamma(picture, image.info)
    if alpha is not None and alpha.getextrema() != (255, 255):
        picture.putalpha(alpha)
    return picture, changed


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture in L, RGB, CMYK or LAB, and its alpha channel."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image, None
    if image.mode in ("CMYK", "LAB"):
        return image, None
    if image.mode in ("1", "I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image), None
    if not image.has_transparency_data:
        return image.convert("RGB"), None
    with_alpha = image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
    return with_alpha.convert(with_alpha.mode[:-1]), with_alpha.getchannel("A")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grey picture of any depth, scaled; Pillow's own conversion clips all above 255."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    factor = _scale(image)
    return image.point(lambda value: value * factor + 0).convert("L")


def _scale(image: Image.Image) -> float:
    """What brings the values of a 32-bit picture to 0–255; such files do not say their range."""
    highest = image.getextrema()[1]
    if not isinstance(highest, (int, float)) or not math.isfinite(highest) or highest <= 0:
        return 1
    if image.mode == "F" and highest <= 1:
        return 255
    return 1 if highest <= 255 else 1 / 257 if highest <= 65_535 else 255 / highest


def _apply_profile(picture: Image.Image, profile: object) -> tuple[Image.Image, bool]:
    converted = None
    if picture.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if isinstance(profile, bytes) and profile:
        if _is_srgb(picture.mode, profile):
            return picture, False
        converted = _converted(picture, profile)
    if converted is not None:
        return converted, True
    if picture.mode in ("L", "RGB"):
        return picture, False
    return picture.convert("RGB"), True


def _converted(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB; None where the profile is broken or not made for its mode.

    A transform is made for each picture: it takes 1.6 ms, and none is shared by threads.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[picture.mode]:
            return None
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.buildTransform(
            source,
            target,
            picture.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            _CMS_FLAGS,
        )
        converted = transform.apply(picture)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return converted.convert("L") if picture.mode == "L" else converted


def _is_srgb(mode: str, profile: bytes) -> bool:
    if mode not in ("L", "RGB") or len(profile) > _CACHED_PROFILE_BYTES:
        return False
    return _leaves_colours(mode, profile)


@lru_cache(maxsize=64)
def _leaves_colours(mode: str, profile: bytes) -> bool:
    """Whether a profile means sRGB, found by converting samples: names say little.

    Most photographs carry one of a few sRGB profiles, and finding out takes a tenth of the time of
    coding a small one.
    """
    samples = _samples(mode)
    converted = _converted(samples, profile)
    if converted is None:
        return True
    return max(ImageChops.difference(samples, converted).tobytes()) <= _SAME_COLOUR


def _samples(mode: str) -> Image.Image:
    ramp = Image.linear_gradient("L")
    if mode == "L":
        return ramp
    steps = bytes(range(0, 256, 51))
    cube = bytes(value for r in steps for g in steps for b in steps for value in (r, g, b))
    return Image.frombytes("RGB", (len(steps) ** 3, 1), cube)


def _apply_gamma(
    picture: Image.Image, info: dict[str | tuple[int, int], object]
) -> tuple[Image.Image, bool]:
    """Honours a PNG's gAMA chunk as browsers do: when no sRGB or iCCP chunk overrules it."""
    gamma = info.get("gamma")
    if not isinstance(gamma, float) or gamma <= 0 or info.keys() & {"srgb", "icc_profile"}:
        return picture, False
    exponent = _SRGB_GAMMA / gamma
    if abs(exponent - 1) < 0.05:
        return picture, False
    table = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return picture.point(table * len(picture.getbands())), True


def content_of(picture: Image.Image) -> Content:
    """Whether a picture has few colours. Photographs cost microseconds: they soon have 257."""
    counted = picture.getcolors(FEW)
    if counted is None:
        return Content.PHOTOGRAPH
    if not _is_grey(picture.mode, [colour for _, colour in counted]) or len(counted) <= _FEW_GREYS:
        return Content.GRAPHIC
    pixels = picture.width * picture.height
    bits = -sum(count / pixels * math.log2(count / pixels) for count, _ in counted)
    return Content.DOUBTFUL if bits <= _DOUBTFUL_GREY_BITS else Content.PHOTOGRAPH


def _is_grey(mode: str, colours: list[object]) -> bool:
    if mode in ("L", "LA"):
        return True
    return all(
        isinstance(colour, tuple) and colour[0] == colour[1] == colour[2] for colour in colours
    )


def with_palette(picture: Image.Image) -> Image.Image | None:
    """The same picture in mode P, where 256 colours hold it exactly and no pixel is transparent."""
    if picture.mode not in ("L", "RGB") or picture.getcolors(FEW) is None:
        return None
    indexed = picture.quantize(FEW, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    difference = ImageChops.difference(indexed.convert(picture.mode), picture)
    return None if difference.getbbox() else indexed


def on_white(picture: Image.Image) -> Image.Image:
    """The picture without its alpha channel, as it looks on a white page."""
    if picture.mode not in ("LA", "RGBA"):
        return picture
    opaque = picture.mode[:-1]
    background = Image.new(opaque, picture.size, "white")
    background.paste(picture.convert(opaque), mask=picture.getchannel("A"))
    return background
