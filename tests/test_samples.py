"""The sample catalogue is what samples/README.md says, and its files are what they claim to be."""

import csv
import hashlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import ExifTags, Image, UnidentifiedImageError

from app.catalog import open_catalog

SAMPLES = Path(__file__).parent.parent / "samples"
URL_PREFIX = "http://127.0.0.1:8000/samples/"
BROKEN = {"missing.jpg", "not-a-picture.jpg", "truncated.jpg"}
FORMATS = {
    ".jpg": "JPEG",
    ".png": "PNG",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}

with (SAMPLES / "catalog.csv").open(encoding="utf-8", newline="") as lines:
    ROWS = list(csv.DictReader(lines, strict=True))
URLS = [row["Input Image Urls"].split(",") if row["Input Image Urls"] else [] for row in ROWS]
USES = Counter(url.removeprefix(URL_PREFIX) for urls in URLS for url in urls)
PICTURES = sorted(USES.keys() - BROKEN)


def describe(path: Path) -> tuple[str | None, tuple[int, int], str, int]:
    with Image.open(path) as picture:
        return picture.format, picture.size, picture.mode, getattr(picture, "n_frames", 1)


def test_the_catalogue_has_a_number_a_name_the_urls_and_a_column_to_carry_along():
    assert list(ROWS[0]) == ["S. No.", "Product Name", "Input Image Urls", "Price"]
    assert [row["S. No."] for row in ROWS] == [str(number + 1) for number in range(len(ROWS))]
    assert all(re.fullmatch(r"\d+\.\d\d", row["Price"]) for row in ROWS)


def test_the_catalogue_has_at_least_40_rows_and_100_good_pictures():
    assert len(ROWS) >= 40
    assert len(PICTURES) >= 100


def test_the_readme_gives_the_true_counts():
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")

    assert f"{len(ROWS)} rows with {len(USES)} different image URLs" in readme
    assert f"{len(PICTURES)} of the URLs are good pictures" in readme


def test_one_row_has_no_image_and_the_others_one_to_five():
    counts = Counter(len(urls) for urls in URLS)

    assert counts[0] == 1
    assert set(counts) == {0, 1, 2, 3, 4, 5}


def test_just_one_url_repeats_in_another_row():
    assert [name for name, uses in USES.items() if uses > 1] == ["size-chart-600.png"]


def test_some_names_need_quoting_and_some_are_not_ascii():
    names = [row["Product Name"] for row in ROWS]

    assert any("," in name and '"' in name for name in names)
    assert any(not name.isascii() for name in names)
    assert all(names)


def test_the_service_reads_every_row_and_finds_no_fault():
    with (SAMPLES / "catalog.csv").open("rb") as file, open_catalog(file) as catalog:
        rows = list(catalog.rows())

    assert [row.product_name for row in rows] == [row["Product Name"] for row in ROWS]
    assert [[url.url for url in row.urls] for row in rows] == URLS
    assert not any(row.faults for row in rows)


def test_every_url_is_absolute_and_its_name_needs_no_escaping():
    written = [url for urls in URLS for url in urls]

    assert all(url.startswith(URL_PREFIX) for url in written)
    assert all(re.fullmatch(r"[a-z0-9-]+\.[a-z]+", name) for name in USES)


def test_every_file_is_named_by_the_catalogue_and_only_missing_jpg_is_missing():
    kept = {"README.md", "catalog.csv", "make_samples.py"}
    files = {path.name for path in SAMPLES.iterdir() if path.is_file()} - kept

    assert USES.keys() - files == {"missing.jpg"}
    assert files - USES.keys() == set()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_opens_whole_in_the_format_that_its_name_claims(name):
    with Image.open(SAMPLES / name) as picture:
        picture.load()

    assert picture.format == FORMATS[Path(name).suffix]
    assert 200 <= max(picture.size) <= 1000


def test_every_format_is_there():
    assert {Path(name).suffix for name in PICTURES} == set(FORMATS)


def test_no_two_pictures_are_the_same_file():
    hashes = {hashlib.sha256((SAMPLES / name).read_bytes()).digest() for name in PICTURES}

    assert len(hashes) == len(PICTURES)


def test_the_truncated_picture_opens_but_does_not_load():
    with (
        Image.open(SAMPLES / "truncated.jpg") as picture,
        pytest.raises(OSError, match="truncated"),
    ):
        picture.load()


def test_the_text_under_a_pictures_name_is_no_picture():
    with pytest.raises(UnidentifiedImageError):
        Image.open(SAMPLES / "not-a-picture.jpg")


def test_the_rotated_picture_has_orientation_6_and_a_place():
    with Image.open(SAMPLES / "cat-350-rotated.jpg") as picture:
        exif = picture.getexif()

    assert exif[ExifTags.Base.Orientation] == 6
    assert exif[ExifTags.Base.Model] == "Sample camera"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert picture.height > picture.width


def test_the_names_of_colour_spaces_are_true():
    assert describe(SAMPLES / "coffee-240-cmyk.jpg")[2] == "CMYK"
    assert describe(SAMPLES / "astronaut-suit-240-grey.jpg")[2] == "L"
    with Image.open(SAMPLES / "rocket-500-adobe-rgb.jpg") as picture:
        assert b"Adobe RGB (1998)" in picture.info["icc_profile"]


def test_jpegs_come_with_and_without_subsampling_and_progressive():
    with Image.open(SAMPLES / "coffee-400.jpg") as plain:
        assert plain.layer[0][1:3] == (2, 2)
        assert "progressive" not in plain.info
    with Image.open(SAMPLES / "cat-450-444.jpg") as full:
        assert full.layer[0][1:3] == (1, 1)
    with Image.open(SAMPLES / "cat-face-360-progressive.jpg") as progressive:
        assert progressive.info["progressive"]


def test_cut_out_pictures_are_transparent_in_part():
    for name in filter(re.compile("cutout|badge").search, PICTURES):
        with Image.open(SAMPLES / name) as picture:
            assert picture.getchannel("A").getextrema() == (0, 255)


def test_drawings_have_few_colours():
    for name in filter(re.compile("badge|size-chart|swatches").match, PICTURES):
        with Image.open(SAMPLES / name) as picture:
            assert picture.getcolors(maxcolors=32) is not None


def test_turning_pictures_move():
    frames = {name: describe(SAMPLES / name)[3] for name in PICTURES}
    moving = {name for name, count in frames.items() if count == 6}

    assert moving == {"rocket-lights-240-turning.gif", "galaxies-wide-240-turning.webp"}
    assert {count for name, count in frames.items() if name not in moving} == {1}


def test_only_pictures_with_a_purpose_for_it_carry_metadata():
    for name in PICTURES:
        with Image.open(SAMPLES / name) as picture:
            assert bool(picture.getexif()) == ("rotated" in name or name.endswith(".tiff"))
            assert ("icc_profile" in picture.info) == ("adobe-rgb" in name)


def test_all_samples_together_stay_below_five_megabytes():
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*.*")) < 5_000_000


def test_the_generator_makes_the_files_that_are_here(tmp_path):
    subprocess.run([sys.executable, SAMPLES / "make_samples.py", tmp_path], check=True, timeout=60)

    assert {path.name for path in tmp_path.iterdir()} == USES.keys() - {"missing.jpg"}
    for name in PICTURES:
        assert describe(tmp_path / name) == describe(SAMPLES / name)


def test_the_generator_gives_the_same_bytes_again(tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        command = [sys.executable, SAMPLES / "make_samples.py", tmp_path / folder]
        subprocess.run(command, check=True, timeout=60)

    for first in (tmp_path / "first").iterdir():
        assert first.read_bytes() == (tmp_path / "second" / first.name).read_bytes()
