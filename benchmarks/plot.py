"""Draws images a second as bars, an SVG file by hand: three scales, the best of each full width."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks import throughput

WIDTH, LABELS, FIGURES = 760, 270, 70
BAR, GAP, HEAD = 18, 8, 34
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
OURS, OTHERS, LIMIT = "#1d6fb8", "#b9bec4", "#e3e6e9"

PANELS = (
    (
        "Photographs, images a second",
        "photographs",
        (
            throughput.CODEC,
            throughput.SERVICE,
            throughput.FITTED,
            throughput.IMG2DATASET,
            throughput.SERIAL,
        ),
    ),
    (
        "Photographs from an origin that answers after 100 ms",
        "photographs",
        (throughput.SLOW_SERVICE, throughput.SLOW_SERIAL),
    ),
    (
        "Thumbnails of 300 pixels",
        "thumbnails",
        (
            throughput.CODEC,
            throughput.SERVICE,
            throughput.FITTED,
            throughput.TLS,
            throughput.IMG2DATASET,
        ),
    ),
)


def write_plot(path: Path, raw: dict[str, Any]) -> None:
    """Leaves out what was not measured."""
    top, parts = 8, []
    for title, measure, parties in PANELS:
        rates = {
            party: raw[measure][party]["images_per_second"]
            for party in parties
            if "images_per_second" in raw.get(measure, {}).get(party, {})
        }
        if rates:
            parts += _panel(title, rates, top)
            top += HEAD + len(rates) * (BAR + GAP) + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" {FONT}>'
    background = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    path.write_text("\n".join([head, background, *parts, "</svg>"]) + "\n")


def _panel(title: str, rates: dict[str, float], top: int) -> list[str]:
    parts = [f'<text x="8" y="{top + 20}" font-weight="bold">{escape(title)}</text>']
    room, most = WIDTH - LABELS - FIGURES, max(rates.values())
    for number, (party, rate) in enumerate(rates.items()):
        y = top + HEAD + number * (BAR + GAP)
        width = max(1.0, room * rate / most)
        parts += [
            f'<text x="{LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(party)}</text>',
            f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" {_fill(party)}/>',
            f'<text x="{LABELS + width + 6:.1f}" y="{y + 14}">{rate:,.0f}</text>',
        ]
    return parts


def _fill(party: str) -> str:
    if party == throughput.CODEC:
        return f'fill="{LIMIT}"'
    return f'fill="{OURS if party.startswith(throughput.SERVICE) else OTHERS}"'
