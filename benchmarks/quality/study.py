"""What is measured, and which tables are made of it.

In: pictures of three kinds. Out: points of each kind, and docs/quality.md's tables. Called by
`__main__`.
"""

from collections.abc import Iterable, Sequence
from itertools import product

from app.compress import codecs
from app.models import OutputFormat
from benchmarks.quality import report
from benchmarks.quality.coders import OUR_QUALITY, Coder, img2dataset, imgproxy, ours
from benchmarks.quality.measures import Point, measure
from benchmarks.quality.pictures import Picture

LADDER = (20, 30, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95)
AROUND = (OUR_QUALITY - 10, OUR_QUALITY, OUR_QUALITY + 10)
WEBP_METHODS = range(7)
AVIF_SPEEDS = range(4, 11)


class Study:
    """Measures as it is made. `points` are by kind of picture.

    `with_others` needs requirements-bench.txt: the libraries that others compress by.
    """

    def __init__(
        self,
        photographs: Sequence[Picture],
        drawings: Sequence[Picture],
        transparent: Sequence[Picture],
        *,
        with_others: bool,
    ):
        self.photographs = photographs
        jpeg, webp, avif = (ours(OutputFormat(name)) for name in ("jpeg", "webp", "avif"))
        plain, auto = ours(OutputFormat.JPEG, jpeg_optimize=False), ours(OutputFormat.AUTO)
        self._ours = [jpeg, plain, webp, avif, auto]
        self._laddered = {"jpeg": jpeg, "jpeg, not fitted": plain, "webp": webp, "avif": avif}
        self._methods = _efforts(webp, OutputFormat.WEBP, WEBP_METHODS, codecs.WEBP_METHOD)
        self._speeds = _efforts(avif, OutputFormat.AVIF, AVIF_SPEEDS, codecs.AVIF_SPEED)
        self._others, self._with_png = _others() if with_others else ([], [])
        self.points = {
            "photographs": measure(photographs, self._tries()),
            "drawings": measure(drawings, at_defaults(self._ours + self._with_png)),
            "transparent": measure(transparent, at_defaults(self._ours + self._with_png)),
        }

    def _tries(self) -> list[tuple[Coder, int]]:
        return list(
            dict.fromkeys(
                [
                    *at_defaults(self._ours + self._others),
                    *product(self._laddered.values(), LADDER),
                    *product(self._methods.values(), AROUND),
                    # What is slower than the speed set looks better: a lower quality equals it.
                    *(
                        (coder, at)
                        for speed, coder in self._speeds.items()
                        for at in AROUND
                        if speed >= codecs.AVIF_SPEED or at <= OUR_QUALITY
                    ),
                ]
            )
        )

    def tables(self) -> str:
        ladders = {name: self._of(coder) for name, coder in self._laddered.items()}
        peers = [self._default(coder) for coder in self._others]
        defaults = [self._default(coder) for coder in self._ours + self._others]
        looks = {name: ladders[name] for name in ("webp", "avif")}
        return "\n\n".join(
            [
                "### Photographs, everybody's defaults",
                report.defaults_table(defaults),
                "### The same likeness as others' defaults",
                report.equal_table(peers, ladders),
                "### What a quality means",
                report.scales_table(ladders["jpeg"], looks),
                "### WebP's effort (`method`)",
                report.efforts_table(self._by_effort(self._methods), codecs.WEBP_METHOD),
                "### AVIF's effort (`speed`)",
                report.efforts_table(self._by_effort(self._speeds), codecs.AVIF_SPEED),
                "### Drawings of few colours (PNG)",
                report.defaults_table(self.points["drawings"]),
                "### Transparent pictures (PNG)",
                report.defaults_table(self.points["transparent"]),
            ]
        )

    def _of(self, coder: Coder) -> list[Point]:
        return [point for point in self.points["photographs"] if point.coder == coder.name]

    def _default(self, coder: Coder) -> Point:
        return next(point for point in self._of(coder) if point.quality == coder.quality)

    def _by_effort(self, coders: dict[int, Coder]) -> dict[int, list[Point]]:
        return {effort: self._of(coder) for effort, coder in coders.items()}


def _efforts(
    as_set: Coder, output_format: OutputFormat, efforts: Iterable[int], current: int
) -> dict[int, Coder]:
    """The service at each effort; at the one set it is measured already."""
    return {
        effort: as_set if effort == current else ours(output_format, effort=effort)
        for effort in efforts
    }


def _others() -> tuple[list[Coder], list[Coder]]:
    """With photographs, and with PNG files, which imgproxy leaves as PNG."""
    jpeg, webp, avif, png = (imgproxy(name) for name in ("jpeg", "webp", "avif", "png"))
    return [jpeg, webp, avif, img2dataset()], [png, webp, avif, img2dataset()]


def at_defaults(coders: Iterable[Coder]) -> list[tuple[Coder, int]]:
    return [(coder, coder.quality) for coder in coders]
