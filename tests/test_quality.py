"""That `python -m benchmarks.quality` runs, and measures likeness as it says."""

import numpy as np
import pytest
from PIL import Image

from app.compress import codecs
from benchmarks.quality import pictures, ssim
from benchmarks.quality.measures import Point, at_ssim
from benchmarks.quality.study import Study


def noise(seed, size=13):
    return np.random.default_rng(seed).uniform(0, 255, (size, size)).astype(np.float32)


def ssim_by_definition(one, other):
    """The paper's formula, window by window, in double precision."""
    bell = np.exp(-(np.arange(-5.0, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for top in range(one.shape[0] - 10):
        for left in range(one.shape[1] - 10):
            x, y = (plane[top : top + 11, left : left + 11].astype(float) for plane in (one, other))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append(
                (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return np.mean(values)


def test_the_likeness_of_a_picture_with_itself_is_one():
    assert ssim.Reference(noise(1)).ssim(noise(1)) == pytest.approx(1)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1])
def test_the_likeness_is_that_of_the_paper(strength):
    one = noise(1)
    other = (1 - strength) * one + strength * noise(2)
    assert ssim.Reference(one).ssim(other) == pytest.approx(
        ssim_by_definition(one, other), abs=1e-5
    )


def test_between_two_measured_qualities_bytes_are_read_off_at_equal_likeness():
    points = [point(quality=40, bytes_out=100, ssim=0.90), point(60, 400, 0.94)]
    equal = at_ssim(points, 0.92)
    assert (equal.quality, equal.share) == (pytest.approx(50), pytest.approx(0.2))
    assert at_ssim(points, 0.95) is None


def point(quality, bytes_out, ssim):
    return Point("any", quality, 1000, bytes_out, ssim, ssim, 1.0)


def test_the_study_runs_on_a_few_small_pictures():
    gradient = Image.linear_gradient("L").resize((48, 32))
    photograph = Image.merge("RGB", (gradient, gradient.rotate(180), gradient))
    study = Study(
        [pictures.as_file("photograph", photograph, "JPEG", quality=95)],
        [pictures.as_file("drawing", Image.new("RGB", (40, 40), "red"), "PNG")],
        [pictures.as_file("hole", Image.new("RGBA", (40, 40), (0, 0, 255, 99)), "PNG")],
        with_others=False,
    )
    tables = study.tables()
    assert "| Pressroom avif | 50 |" in tables
    assert f"| {codecs.AVIF_SPEED} (set) |" in tables
