"""Draws images a second over workers beside the straight line, an SVG file by hand."""

from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 380, 56
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
OURS, LINEAR = "#1d6fb8", "#b9bec4"


def write_plot(path: Path, rates: dict[int, float]) -> None:
    """`rates`: images a second by the number of workers."""
    most_workers = max(rates)
    first = min(rates)
    most = rates[first] / first * most_workers

    def place(workers: float, rate: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * workers / most_workers
        return x, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * rate / max(most, *rates.values())

    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        '<text x="8" y="20" font-weight="bold">Images a second, by workers</text>',
        _line([place(0, 0), place(most_workers, most)], LINEAR, dashed=True),
        _line([place(workers, rate) for workers, rate in rates.items()], OURS),
    ]
    for workers, rate in rates.items():
        x, y = place(workers, rate)
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{OURS}"/>',
            f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{rate:,.0f}</text>',
            f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 20}" text-anchor="middle">{workers}</text>',
        ]
    x, y = place(most_workers, most)
    parts.append(f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="end" fill="gray">linear</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" {FONT}>'
    path.write_text("\n".join([head, *parts, "</svg>"]) + "\n")


def _line(points: list[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 5"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
