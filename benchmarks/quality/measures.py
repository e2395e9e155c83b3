"""Compresses pictures and says what came of it: bytes, likeness and CPU; and what equals what.

In: pictures and coders. Out: a `Point` for each coder and quality, and points in between. Called by
`__main__`.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.coders import Coder
from benchmarks.quality.pictures import Picture, luma_of


@dataclass(frozen=True)
class Point:
    """One coder at one quality, over all pictures of a kind.

    `ssim` is the mean over the pictures and `ssim_5` their 5th percentile; `cpu` is in milliseconds
    a megapixel, decoding included, of all threads.
    """

    coder: str
    quality: int
    bytes_in: int
    bytes_out: int
    ssim: float
    ssim_5: float
    cpu: float

    @property
    def share(self) -> float:
        return self.bytes_out / self.bytes_in


def measure(pictures: Sequence[Picture], tries: Iterable[tuple[Coder, int]]) -> list[Point]:
    """A point for every try; each picture goes through all of them before the next does.

    So a machine that has other work for a while is slow for all alike.
    """
    tries = list(tries)
    seen: list[list[tuple[int, float, float]]] = [[] for _ in tries]
    for picture in pictures:
        for (coder, quality), results in zip(tries, seen, strict=True):
            results.append(_once(picture, coder, quality))
    return [
        _point(pictures, *one_try, results) for one_try, results in zip(tries, seen, strict=True)
    ]


def _once(picture: Picture, coder: Coder, quality: int) -> tuple[int, float, float]:
    began = time.process_time()
    coded = coder.code(picture.source, quality)
    seconds = time.process_time() - began
    return len(coded), picture.reference.ssim(luma_of(coded)), seconds


def _point(
    pictures: Sequence[Picture],
    coder: Coder,
    quality: int,
    results: Sequence[tuple[int, float, float]],
) -> Point:
    sizes, ssims, seconds = zip(*results, strict=True)
    return Point(
        coder=coder.name,
        quality=quality,
        bytes_in=sum(len(picture.source) for picture in pictures),
        bytes_out=sum(sizes),
        ssim=float(np.mean(ssims)),
        ssim_5=float(np.percentile(ssims, 5)),
        cpu=1e9 * sum(seconds) / sum(picture.pixels for picture in pictures),
    )


@dataclass(frozen=True)
class Between:
    """Where a coder reaches a likeness, as a rule between two points."""

    quality: float
    share: float


def at_ssim(points: Sequence[Point], ssim: float) -> Between | None:
    """Read off between the two points around it; None where they do not reach so far."""
    ordered = sorted(points, key=lambda point: point.ssim)
    if not ordered[0].ssim <= ssim <= ordered[-1].ssim:
        return None
    ssims = [point.ssim for point in ordered]
    quality = np.interp(ssim, ssims, [point.quality for point in ordered])
    share = np.interp(ssim, ssims, [math.log(point.share) for point in ordered])
    return Between(float(quality), math.exp(float(share)))
