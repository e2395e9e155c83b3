"""What a caller asks for is what comes out, and what the status shows, by the whole service."""

import io

import pytest
from PIL import Image, ImageFile

SIZE = (640, 320)


@pytest.fixture
def photograph():
    file = io.BytesIO()
    large = Image.effect_noise((80, 40), 60).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
    large.save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def transparent():
    file = io.BytesIO()
    colours = Image.effect_noise(SIZE, 60).convert("RGB")
    colours.putalpha(Image.linear_gradient("L").resize(SIZE))
    colours.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def made(upload, client, origin, wait_for):
    """A function: the picture that the service makes of a source, and the options it shows."""

    def make(source, **options):
        origin.serve("/a", source)
        url = upload(f"Images\n{origin.url('/a')}\n", **options).json["status_url"]
        status = wait_for(lambda: (s := client.get(url).json)["status"] == "completed" and s)
        (image,) = status["images"].values()
        reply = client.get(f"/{image['path']}")
        return Image.open(io.BytesIO(reply.data)), reply, status["options"]

    return make


@pytest.mark.parametrize(
    ("asked", "of_a_photograph", "of_a_transparent_png"),
    [
        ("auto", "JPEG", "WEBP"),
        ("jpeg", "JPEG", "JPEG"),
        ("webp", "WEBP", "WEBP"),
        ("avif", "AVIF", "AVIF"),
        ("png", "PNG", "PNG"),
        ("keep", "JPEG", "PNG"),
        ("classic", "JPEG", "PNG"),
    ],
)
def test_every_format_is_made_named_and_shown(
    made, photograph, transparent, asked, of_a_photograph, of_a_transparent_png
):
    for source, expected in ((photograph, of_a_photograph), (transparent, of_a_transparent_png)):
        picture, reply, options = made(source, format=asked, max_width="100")

        assert (picture.format, picture.size) == (expected, (100, 50))
        assert reply.content_type == f"image/{expected.lower()}"
        assert options == {"quality": 50, "format": asked, "max_width": 100}


def test_quality_decides_how_large_it_is(made, photograph):
    sizes = []
    for quality in ("1", "50", "90"):
        _, reply, options = made(photograph, quality=quality)
        sizes.append(len(reply.data))
        assert options["quality"] == int(quality)

    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"max_width": "160"}, (160, 80)),
        ({"max_height": "160"}, (320, 160)),
        ({"max_width": "160", "max_height": "40"}, (80, 40)),
        ({"max_width": "5000", "max_height": "5000"}, SIZE),
    ],
)
def test_it_fits_inside_and_is_never_enlarged(made, photograph, options, size):
    picture, _, shown = made(photograph, **options)

    assert picture.size == size
    assert shown == {"quality": 50, "format": "auto"} | {k: int(v) for k, v in options.items()}


def test_a_jpeg_that_is_scaled_down_is_decoded_at_a_fraction(made, photograph, monkeypatch):
    """The decoder leaves out what nobody will see: an eighth of each side is decoded here."""
    decoded, load = [], ImageFile.ImageFile.load

    def noted_load(image):
        if image.format == "JPEG" and image.tile:
            decoded.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", noted_load)

    picture, _, _ = made(photograph, max_width="40")

    assert picture.size == (40, 20)
    assert decoded[0][0] <= SIZE[0] // 4
