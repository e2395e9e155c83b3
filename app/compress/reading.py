"""Opens image files within limits, and turns whatever a decoder raises into one kind of failure.

In: the bytes a host sent and the limits. Out: what the header says, and Pillow's image with no
pixel decoded yet. Called by `app.compress`.

Pillow's reader of the format is called directly: `Image.open` would try others, follow the
pointers of an MPO to its further pictures and say nothing about why a file was refused.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from app.compress import containers
from app.compress.parts import Cut
from app.compress.sniffing import SourceFormat, format_of
from app.errors import ImageFailed
from app.models import ErrorCode

# Pillow's own limit is one for the process and warns before it refuses, and filters of warnings
# are shared by all threads. Sizes are checked here instead, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# Images are coded side by side; threads inside one of them would only make the others wait.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# Pillow warns of each bad tag it skips. Python remembers every text, so these would pile up.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# All frames of an animation together, as a multiple of `max_pixels`: at 50 megapixels this is 100
# frames in full HD, and about 25 s of WebP coding.
ANIMATION_PIXELS_FACTOR = 4

_DECODED_AT_ONCE_BYTES = 1_048_576
"""In pieces of 64 KiB, as is usual, a decoder would wait for the interpreter at each."""

_READERS: dict[SourceFormat, type[ImageFile.ImageFile]] = {
    SourceFormat.JPEG: JpegImagePlugin.JpegImageFile,
    SourceFormat.PNG: PngImagePlugin.PngImageFile,
    SourceFormat.WEBP: WebPImagePlugin.WebPImageFile,
    SourceFormat.GIF: GifImagePlugin.GifImageFile,
    SourceFormat.BMP: BmpImagePlugin.BmpImageFile,
    SourceFormat.TIFF: TiffImagePlugin.TiffImageFile,
    SourceFormat.AVIF: AvifImagePlugin.AvifImageFile,
}
_EXTENTS = {
    SourceFormat.PNG: containers.png_extent,
    SourceFormat.WEBP: containers.webp_extent,
    SourceFormat.GIF: containers.gif_extent,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is decoded at most: pixels of one picture or frame, frames of one animation."""

    max_pixels: int = 50_000_000
    max_frames: int = 200


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `frames` is what it claims or holds, whichever is more."""

    format: SourceFormat
    width: int
    height: int
    frames: int

    @property
    def pixels(self) -> int:
        """Pixels in memory at a time while it is coded: frames are decoded one after another."""
        return self.width * self.height


@contextmanager
def opened(source: bytes, limits: Limits) -> Iterator[tuple[Header, ImageFile.ImageFile]]:
    """A file's header and Pillow's image of it, with no pixel decoded; inside, it takes the blame.

    Raises ImageFailed: `not_an_image`, `unsupported_format`, `too_many_pixels`,
    `too_many_frames`, or `truncated` and `decode_failed` for whatever a decoder raises.
    """
    source_format = format_of(source)
    with blaming_the_image(source_format, source):
        extent = _EXTENTS.get(source_format)
        header = extent and _checked(source_format, extent(source, limits.max_frames), limits)
        with opened_as(source_format, source) as image:
            if header is None:
                frames = image.n_frames if isinstance(image, AvifImagePlugin.AvifImageFile) else 1
                header = _checked(source_format, (*image.size, frames), limits)
            # A file may hold two headers that disagree, and Pillow believe the other one.
            check_size(image, limits)
            yield header, image


def opened_as(source_format: SourceFormat, source: bytes) -> ImageFile.ImageFile:
    """Pillow's image of a file, not yet decoded. Raises whatever Pillow raises."""
    image = _READERS[source_format](io.BytesIO(source))
    image.decodermaxblock = _DECODED_AT_ONCE_BYTES
    return image


def _checked(source_format: SourceFormat, extent: tuple[int, int, int], limits: Limits) -> Header:
    header = Header(source_format, *extent)
    _check_frames(header, limits)
    _check_pixels(header.width, header.height, header.frames, limits)
    return header


def check_size(image: Image.Image, limits: Limits) -> None:
    """Raises ImageFailed `too_many_pixels`."""
    _check_pixels(*image.size, 1, limits)


def _check_frames(header: Header, limits: Limits) -> None:
    if header.frames > limits.max_frames:
        raise ImageFailed(
            ErrorCode.TOO_MANY_FRAMES,
            f"the animation has more than {limits.max_frames:,} frames",
            permanent=True,
        )


def _check_pixels(width: int, height: int, frames: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise _too_many_pixels(f"{width} × {height} pixels", limits.max_pixels)
    all_frames = limits.max_pixels * ANIMATION_PIXELS_FACTOR
    if width * height * frames > all_frames:
        raise _too_many_pixels(f"{frames} frames of {width} × {height} pixels", all_frames)


def _too_many_pixels(what: str, limit: int) -> ImageFailed:
    return ImageFailed(ErrorCode.TOO_MANY_PIXELS, f"{what} are more than {limit:,}", permanent=True)


@contextmanager
def blaming_the_image(source_format: SourceFormat, source: bytes) -> Iterator[None]:
    """Whatever a decoder raises is this image's failure.

    An OSError with a number is let through: decoders read from memory, so it comes from the disk
    that is written to, and is nobody's fault.
    """
    try:
        yield
    except ImageFailed:
        raise
    except MemoryError as error:
        raise ImageFailed(
            ErrorCode.DECODE_FAILED, "there is not enough memory to decode it", permanent=False
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _failure(error, source_format, source) from error


def _failure(error: Exception, source_format: SourceFormat, source: bytes) -> ImageFailed:
    cut = isinstance(error, (Cut, EOFError)) or "truncated" in str(error).lower()
    if cut or containers.ends_early(source_format, source):
        return ImageFailed(
            ErrorCode.TRUNCATED,
            f"the {source_format} file ends too early, after {len(source):,} bytes",
            permanent=True,
        )
    return ImageFailed(
        ErrorCode.DECODE_FAILED,
        f"the {source_format} file cannot be decoded: {str(error)[:200]}",
        permanent=True,
    )
