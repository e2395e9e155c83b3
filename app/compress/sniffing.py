"""Tells a file's format from its first bytes, as nothing else about it can be trusted.

In: the bytes a host sent. Out: one of the formats that are read, or `ImageFailed` with a sentence
that says what came instead. Called by `app.compress.reading`.
"""

from enum import StrEnum

from app.errors import ImageFailed
from app.models import ErrorCode


class SourceFormat(StrEnum):
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"
    AVIF = "AVIF"


_READ = (
    (b"\xff\xd8\xff", SourceFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", SourceFormat.PNG),
    (b"GIF87a", SourceFormat.GIF),
    (b"GIF89a", SourceFormat.GIF),
    (b"II*\0", SourceFormat.TIFF),
    (b"MM\0*", SourceFormat.TIFF),
    (b"II+\0", SourceFormat.TIFF),
    (b"MM\0+", SourceFormat.TIFF),
)
_OTHER_IMAGES = (
    (b"8BPS", "Photoshop"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    (b"icns", "ICNS"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"gimp xcf", "XCF"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"BPG\xfb", "BPG"),
    (b"FLIF", "FLIF"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    *((b"P%d" % kind + space, "Netpbm") for kind in range(1, 8) for space in (b"\n", b" ", b"\r")),
)
_OTHER_FILES = (
    (b"%PDF", "a PDF document"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"RIFF", "a sound or a film"),
    (b"\x1aE\xdf\xa3", "a film"),
)
_BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)
_AVIF_BRANDS = (b"avif", b"avis")
_OTHER_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"jxl ": "JPEG XL",
    b"crx ": "camera raw",
}


def format_of(source: bytes) -> SourceFormat:
    """The format of an image file.

    Raises ImageFailed: `unsupported_format` for an image of another kind, else `not_an_image`.
    """
    head = source[:1024]
    if head[8:10] == b"CR" and head.startswith(b"II*\0"):
        raise _unsupported("camera raw")
    for signature, known in _READ:
        if head.startswith(signature):
            return known
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return SourceFormat.WEBP
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return SourceFormat.BMP
    if head[4:8] == b"ftyp":
        return _format_of_boxes(head)
    raise _refusal(head)


def _format_of_boxes(head: bytes) -> SourceFormat:
    """AVIF, HEIC and films share one container; the brands of its first box tell them apart."""
    length = int.from_bytes(head[:4], "big")
    brands = [head[8:12]] + [head[at : at + 4] for at in range(16, min(length, len(head)), 4)]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return SourceFormat.AVIF
    for brand in brands:
        if brand in _OTHER_BRANDS:
            raise _unsupported(_OTHER_BRANDS[brand])
    raise _not_an_image("a film")


def _refusal(head: bytes) -> ImageFailed:
    for signature, name in _OTHER_IMAGES:
        if head.startswith(signature):
            return _unsupported(name)
    for signature, name in _OTHER_FILES:
        if head.startswith(signature):
            return _not_an_image(name)
    return _refusal_of_text(head) or _not_an_image("something that is no known image format")


def _refusal_of_text(head: bytes) -> ImageFailed | None:
    text = head.removeprefix(b"\xef\xbb\xbf").strip().lower()
    if not text:
        return _not_an_image("nothing" if not head else "an empty page")
    if b"<svg" in text and text.startswith(b"<"):
        return _unsupported("SVG")
    if b"<html" in text or text.startswith(b"<!doctype html"):
        return _not_an_image("an HTML page")
    if text.startswith((b"{", b"[")):
        return _not_an_image("JSON")
    if text.startswith(b"<"):
        return _not_an_image("an XML or HTML document")
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in text):
        return _not_an_image("text")
    return None


def _unsupported(name: str) -> ImageFailed:
    return ImageFailed(
        ErrorCode.UNSUPPORTED_FORMAT,
        f"the image is {name}: JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF are read",
        permanent=True,
    )


def _not_an_image(what: str) -> ImageFailed:
    return ImageFailed(
        ErrorCode.NOT_AN_IMAGE,
        f"the host sent {what}: does the URL lead to the image itself?",
        permanent=True,
    )
