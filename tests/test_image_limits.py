"""Which decoders ever run, and how many pixels they hold: all images of a process together."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from test_compress import READ, coded, drawing, photograph, squeeze

from app.budget import Budget
from app.compress import Limits
from app.compress.reading import _READERS
from app.errors import ImageFailed
from app.making import PIXELS_IN_FLIGHT, Fetched, ImageMaker, Job
from app.models import BatchOptions

EIGHT = 8
PIXELS = 4_900_000


class RecordingBudget(Budget):
    """Knows the most that was held at once."""

    def __init__(self, most):
        super().__init__(most)
        self.peak = 0

    def resize(self, old, new, is_worth_waiting):
        was_resized = super().resize(old, new, is_worth_waiting)
        with self._changed:
            self.peak = max(self.peak, self._held)
        return was_resized


def make_maker(pixels, limits):
    return ImageMaker(
        sources=None,
        memory=Budget(10**9),
        pixels=pixels,
        limits=limits,
        jpeg_optimize=False,
        fetch_timeout_seconds=1,
    )


def job():
    return Job("http://h/a.jpg", (1, 1), "id", BatchOptions(), is_wanted=lambda: True)


def test_eight_of_the_largest_at_once_stay_within_the_budget_of_pixels():
    """At a tenth of the sizes; `make hostile` measures the memory of the true ones."""
    source = coded(Image.new("RGB", (1_960, 2_500), "teal"), "JPEG")
    pixels = RecordingBudget(PIXELS_IN_FLIGHT // 10)
    maker = make_maker(pixels, Limits(max_pixels=5_000_000))

    with ThreadPoolExecutor(EIGHT) as pool:
        coding = [
            pool.submit(maker.code, job(), Fetched(source, maker.memory.room()))
            for _ in range(EIGHT)
        ]
        made = [future.result() for future in coding]

    assert len(made) == EIGHT
    assert 2 * PIXELS == pixels.peak <= PIXELS_IN_FLIGHT // 10
    assert pixels._held == 0


def test_what_is_refused_for_its_size_takes_no_pixels():
    pixels = RecordingBudget(10**9)
    maker = make_maker(pixels, Limits(max_pixels=100))
    source = Fetched(coded(photograph(), "JPEG"), maker.memory.room())

    with pytest.raises(ImageFailed, match="pixels"):
        maker.code(job(), source)

    assert pixels.peak == 0


def test_seven_readers_are_all_that_there_is():
    assert {reader.format for reader in _READERS.values()} == set(READ)


def test_pillow_never_chooses_a_reader_itself(monkeypatch):
    sources = [coded(drawing(), name) for name in READ]
    monkeypatch.setattr(Image, "open", None)
    monkeypatch.setattr(Image, "OPEN", {})

    for source in sources:
        assert squeeze(source, "keep").said.width == 120


def other_formats():
    Image.init()
    return sorted(set(Image.SAVE) - {*READ, "MPO", "DIB"})


def as_(name):
    for mode in ("RGB", "L", "1", "P", "F"):
        file = io.BytesIO()
        try:
            Image.new(mode, (16, 16)).save(file, name)
        except (OSError, ValueError, KeyError):
            continue
        return file.getvalue()
    return None


@pytest.mark.filterwarnings("ignore:IM image format:DeprecationWarning")
def test_every_other_format_that_pillow_writes_is_refused():
    sources = {name: source for name in other_formats() if (source := as_(name))}
    assert {"EPS", "JPEG2000", "ICO", "TGA", "PDF", "SGI", "PCX"} <= set(sources)

    for name, source in sources.items():
        with pytest.raises(ImageFailed) as raised:
            squeeze(source)
        assert raised.value.code in ("unsupported_format", "not_an_image"), name


@pytest.mark.parametrize("name", READ)
def test_a_picture_beyond_pillow_s_own_limit_is_ours_to_judge_and_warns_nobody(name, monkeypatch):
    """Its check is off, since it only warns up to twice its limit and is one for the process."""
    assert Image.MAX_IMAGE_PIXELS is None
    source = coded(drawing(), name)

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        assert squeeze(source, limits=Limits(max_pixels=9_600)).said.width == 120
        with pytest.raises(ImageFailed) as raised:
            squeeze(source, limits=Limits(max_pixels=9_599))
    assert raised.value.code == "too_many_pixels"


def test_were_pillow_s_check_on_its_warning_would_fail_the_image(monkeypatch):
    """Of whichever path it came: a warning that is raised is that image's failure."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)

    def warn(*_args, **_named):
        Image._decompression_bomb_check((120, 80))

    monkeypatch.setattr(_READERS["JPEG"], "load", warn)

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with pytest.raises(ImageFailed) as raised:
            squeeze(coded(drawing(), "JPEG"))
    assert raised.value.code == "decode_failed"
