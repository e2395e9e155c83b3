"""Turns points into the tables of docs/quality.md.

In: points. Out: Markdown. Called by `__main__`.
"""

import math
from collections.abc import Iterable, Sequence

from benchmarks.quality.coders import OUR_QUALITY
from benchmarks.quality.measures import Point, at_ssim

PAYS = 0.05
"""A doubling of CPU pays where it takes at least this share off the bytes."""
JPEG_QUALITIES = (30, 40, 50, 60, 70, 80)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def defaults_table(points: Iterable[Point]) -> str:
    """What every coder makes of the same pictures at its default."""
    header = ("by", "quality", "bytes kept", "SSIM", "5th percentile", "CPU ms/MP")
    return table(
        header,
        [
            (
                point.coder,
                f"{point.quality:.0f}",
                percent(point.share),
                f"{point.ssim:.4f}",
                f"{point.ssim_5:.4f}",
                f"{point.cpu:.0f}",
            )
            for point in points
        ],
    )


def equal_table(peers: Iterable[Point], ladders: dict[str, Sequence[Point]]) -> str:
    """Our bytes at the likeness of another's default, and the quality that it takes."""
    rows = []
    for peer in peers:
        cells = [_equal(points, peer) for points in ladders.values()]
        rows.append((peer.coder, f"{peer.ssim:.4f}", percent(peer.share), *cells))
    return table(("its default", "SSIM", "it keeps", *ladders), rows)


def _equal(points: Sequence[Point], peer: Point) -> str:
    equal = at_ssim(points, peer.ssim)
    if equal is None:
        return "out of reach"
    less = equal.share / peer.share - 1
    return f"{percent(equal.share)} ({less:+.0%}) at {equal.quality:.0f}"


def scales_table(jpeg: Sequence[Point], others: dict[str, Sequence[Point]]) -> str:
    """Which quality of another format looks like which quality of JPEG, and its bytes."""
    rows = []
    for point in sorted(jpeg, key=lambda point: point.quality):
        if point.quality in JPEG_QUALITIES:
            alike = [_alike(points, point) for points in others.values()]
            rows.append((f"{point.quality:.0f}", f"{point.ssim:.4f}", percent(point.share), *alike))
    return table(
        ("JPEG quality", "SSIM", "bytes kept", *(f"alike in {name}" for name in others)), rows
    )


def _alike(points: Sequence[Point], point: Point) -> str:
    equal = at_ssim(points, point.ssim)
    return "–" if equal is None else f"{equal.quality:.0f} ({percent(equal.share)})"


def efforts_table(efforts: dict[int, Sequence[Point]], current: int) -> str:
    """Bytes at equal likeness and CPU of each effort, and how far it is from the rule's best.

    The likeness is that of the effort set, at our default quality. The rule weighs bytes against
    CPU at a fixed rate of exchange, `PAYS`.
    """
    at_default = {effort: _at_default(points) for effort, points in efforts.items()}
    equal = {effort: at_ssim(of, at_default[current].ssim) for effort, of in efforts.items()}
    shares = {effort: found.share for effort, found in equal.items() if found}
    rate = -math.log2(1 - PAYS)
    costs = {effort: share * at_default[effort].cpu ** rate for effort, share in shares.items()}
    rows = [
        (
            f"{effort} (set)" if effort == current else str(effort),
            percent(share),
            f"{share / min(shares.values()) - 1:+.1%}",
            f"{at_default[effort].ssim:.4f}",
            f"{at_default[effort].cpu:.0f}",
            f"{costs[effort] / min(costs.values()) - 1:+.1%}",
        )
        for effort, share in shares.items()
    ]
    header = (
        "effort",
        "bytes kept",
        "over the fewest bytes",
        "SSIM at 50",
        "CPU ms/MP",
        "off the rule's best",
    )
    return table(header, rows)


def _at_default(points: Sequence[Point]) -> Point:
    return next(point for point in points if point.quality == OUR_QUALITY)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
