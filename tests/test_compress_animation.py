"""Animations stay animations where the format allows: frames, times, loops and disposal."""

import io

import pytest
from PIL import Image, ImageDraw, ImageSequence
from test_compress import animated, coded, differ, drawing, frames, photograph, squeeze

from app.compress import Limits
from app.compress.animation import Animation, write_gif
from app.errors import ImageFailed

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
TIMES = [100, 200, 50, 70]


def film(name: str, pictures: list[Image.Image] | None = None, loop: int | None = 0) -> bytes:
    settings: dict[str, object] = {"save_all": True, "duration": TIMES}
    if name != "AVIF" and loop is not None:
        settings["loop"] = loop
    if name == "GIF":
        settings["disposal"] = 2
    if name in ("WEBP", "AVIF"):
        settings |= {"quality": 100, **({"lossless": True} if name == "WEBP" else {})}
    first, *others = pictures or frames()
    return coded(first, name, append_images=others, **settings)


def played(picture: Image.Image) -> tuple[list[Image.Image], list[int]]:
    """The frames as they are shown, and for how many milliseconds."""
    shown, times = [], []
    for frame in ImageSequence.Iterator(picture):
        frame.load()
        shown.append(frame.convert("RGBA"))
        times.append(round(frame.info["duration"]))
    return shown, times


def wipe(frame: Image.Image) -> Image.Image:
    """Colours under transparent pixels do not count."""
    ground = Image.new("RGBA", frame.size, "white")
    return Image.alpha_composite(ground, frame)


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize("option", ["auto", "webp", "avif", "png", "keep"])
@pytest.mark.parametrize("max_width", [None, 30])
def test_frames_and_times_stay(name: str, option: str, max_width: int | None) -> None:
    source = film(name)
    scaled = {"max_width": max_width} if max_width else {}

    output = squeeze(source, option, quality=95, **scaled)

    shown, times = played(output.picture())
    assert times == TIMES
    for step, (frame, original) in enumerate(zip(shown, frames(), strict=True)):
        centre = (10 + 8 * step, 17)
        if max_width:
            centre = (centre[0] // 2, centre[1] // 2)
        expected = original.getpixel((10 + 8 * step, 17))
        assert all(abs(a - b) < 24 for a, b in zip(frame.getpixel(centre), expected, strict=True))
        corner = (frame.width - 1, frame.height - 1)
        assert frame.getpixel(corner)[3] < 8, "what earlier frames drew must be cleared"


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("option", ["png", "keep"])
def test_lossless_animations_lose_nothing(name: str, option: str) -> None:
    if (name, option) == ("WEBP", "keep"):
        option = "png"

    shown, _ = played(squeeze(film(name), option).picture())

    assert all(differ(wipe(a), wipe(b)) == 0 for a, b in zip(shown, frames(), strict=True))


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("option", ["keep", "png", "webp"])
def test_frames_that_cover_all_are_right_too(name: str, option: str) -> None:
    opaque = [wipe(frame).convert("RGB") for frame in frames()]

    output = squeeze(film(name, opaque), option, quality=95, max_width=59)

    shown, _ = played(output.picture())
    for frame, original in zip(shown, opaque, strict=True):
        expected = original.resize((59, 39), Image.LANCZOS)
        assert abs(sum(frame.convert("L").tobytes()) - sum(expected.convert("L").tobytes())) < 8e3


def test_a_gif_clears_what_a_transparent_frame_must_not_show() -> None:
    disc, ground = frames()[1], Image.new("RGBA", (60, 40), "green")
    mixed = [ground, disc, ground, frames()[2], frames()[3], ground]
    came = coded(
        mixed[0], "WEBP", save_all=True, append_images=mixed[1:], duration=70, lossless=True
    )
    file = io.BytesIO()

    with Image.open(io.BytesIO(came)) as source:
        write_gif(Animation(source, 0, 6, lambda frame: frame.convert("RGBA")), file, 50)

    shown, times = played(Image.open(file))

    assert times == [70] * 6
    assert all(differ(wipe(a), wipe(b)) == 0 for a, b in zip(shown, mixed, strict=True))


@pytest.mark.parametrize(
    ("name", "loop", "option", "expected"),
    [
        ("GIF", 0, "webp", 0),
        ("GIF", None, "webp", 1),
        ("GIF", 2, "webp", 3),
        ("GIF", 2, "png", 3),
        ("GIF", 2, "keep", 2),
        ("GIF", 0, "keep", 0),
        ("GIF", None, "keep", None),
        ("PNG", 5, "webp", 5),
        ("WEBP", 1, "png", 1),
        ("AVIF", None, "webp", 0),
    ],
)
def test_loops_stay(name: str, loop: int | None, option: str, expected: int | None) -> None:
    output = squeeze(film(name, loop=loop), option, max_width=30)

    assert output.picture().info.get("loop") == expected


@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.parametrize(("option", "extension"), [("jpeg", "jpg"), ("classic", "png")])
def test_formats_without_animation_take_the_first_frame(
    name: str, option: str, extension: str
) -> None:
    output = squeeze(film(name), option)

    assert output.said.extension == extension
    assert not output.said.kept_original
    assert getattr(output.picture(), "n_frames", 1) == 1


def test_an_animation_stays_one_under_auto() -> None:
    photographs = [photograph().rotate(angle) for angle in (0, 90, 180, 270)]

    output = squeeze(film("GIF", photographs))

    assert output.said.extension == "webp"
    assert output.picture().n_frames == 4


def test_an_animation_is_never_larger_than_it_came() -> None:
    source = animated("GIF", [drawing(), drawing().rotate(180)])

    output = squeeze(source)

    assert output.said.kept_original
    assert len(output.data) <= len(source)
    assert output.picture().n_frames == 2


def test_the_picture_for_programs_without_animation_is_no_frame() -> None:
    source = coded(
        Image.new("RGBA", (60, 40), "green"),
        "PNG",
        save_all=True,
        append_images=frames(),
        default_image=True,
        duration=100,
    )

    moving = squeeze(source, "webp").picture()
    still = squeeze(source, "jpeg", quality=95).picture()

    assert moving.n_frames == 4
    assert moving.convert("RGBA").getpixel((59, 39))[3] == 0
    assert still.getpixel((5, 5))[1] > 110


def test_frames_beyond_the_canvas_of_a_gif_enlarge_it() -> None:
    source = bytearray(animated("GIF", [drawing(), drawing().rotate(180)]))
    source[6:10] = (50).to_bytes(2, "little") * 2

    output = squeeze(bytes(source), "webp")

    assert output.picture().size == (120, 80)


def test_all_frames_together_have_a_limit() -> None:
    source = animated("GIF", [Image.new("L", (50, 50), step) for step in range(0, 60, 10)])

    with pytest.raises(ImageFailed, match="6 frames of 50 × 50 pixels are more than 10,000") as e:
        squeeze(source, limits=Limits(max_pixels=2500))
    assert e.value.code == "too_many_pixels"


@pytest.mark.parametrize("name", ANIMATED)
def test_frames_have_a_limit(name: str) -> None:
    with pytest.raises(ImageFailed, match="more than 3 frames") as e:
        squeeze(film(name), limits=Limits(max_frames=3))
    assert e.value.code == "too_many_frames"


@pytest.mark.parametrize("name", ANIMATED)
def test_an_animation_that_ends_early_is_truncated_not_shortened(name: str) -> None:
    noisy = [Image.effect_noise((60, 40), 60).convert("RGB") for _ in range(4)]
    source = film(name, noisy)

    for share in (0.4, 0.6, 0.8, 0.95):
        with pytest.raises(ImageFailed) as e:
            squeeze(source[: int(len(source) * share)])
        assert e.value.code == "truncated"


def test_interlaced_frames_are_read() -> None:
    tall = [photograph().rotate(angle).convert("P") for angle in (0, 180)]
    file = io.BytesIO()
    tall[0].save(file, "GIF", save_all=True, append_images=tall[1:], duration=100, interlace=1)

    shown, _ = played(squeeze(file.getvalue(), "png").picture())

    assert differ(shown[1], tall[1].convert("RGBA")) == 0


def test_a_still_drawn_twice_is_coded() -> None:
    page = Image.new("RGB", (40, 40), "white")
    ImageDraw.Draw(page).rectangle((5, 5, 20, 20), fill="red")
    source = coded(page, "WEBP", save_all=True, append_images=[page], duration=50)

    assert squeeze(source, "png", max_width=20).picture().size == (20, 20)
