"""Measures what users get, prints it, and with `--out docs` writes it down.

In: samples/originals, and with `--photographs` a folder of further JPEG files. Out: tables on
standard output; with `--out` also quality.json and the part of quality.md between its markers.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from PIL import features

from benchmarks.quality import pictures
from benchmarks.quality.study import Study

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.quality")
    parser.add_argument("--photographs", type=Path, help="a folder of further photographs")
    parser.add_argument("--out", type=Path, help="the folder of quality.md and quality.json")
    arguments = parser.parse_args()
    study = Study(
        pictures.photographs(arguments.photographs),
        pictures.drawings(),
        pictures.transparent(),
        with_others=True,
    )
    text = f"{study.tables()}\n\n{about(study)}\n"
    sys.stdout.write(text)
    if arguments.out:
        points = {kind: [asdict(point) for point in of] for kind, of in study.points.items()}
        (arguments.out / "quality.json").write_text(json.dumps(points, indent=1) + "\n")
        write_between_markers(arguments.out / "quality.md", text)


def about(study: Study) -> str:
    """What was measured, when, and with what."""
    photographs = study.photographs
    megapixels = sum(picture.pixels for picture in photographs) / 1e6
    versions = {
        "Python": platform.python_version(),
        "Pillow": version("pillow"),
        "libjpeg-turbo": features.version("libjpeg_turbo"),
        "libwebp": features.version("webp"),
        "libavif": features.version("avif"),
        "libvips": f"of pyvips-binary {version('pyvips-binary')}",
        "OpenCV": version("opencv-python-headless"),
    }
    return (
        f"Measured on {datetime.now(UTC).date()}, in {time.process_time():.0f} s of CPU time on a "
        f"machine of {os.cpu_count()} cores, with {len(photographs)} photographs of "
        f"{megapixels:.1f} megapixels together: {', '.join(p.name for p in photographs)}. "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + "."
    )


def write_between_markers(path: Path, text: str) -> None:
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
