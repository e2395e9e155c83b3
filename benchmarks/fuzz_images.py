"""Broken pictures without end: every one comes out as a picture or as a failure of its own.

    python -m benchmarks.fuzz_images [FILES] [SEED]

Breaks the sample pictures in FILES (10,000) ways and compresses each in a child process, so that a
crash is seen and the rest goes on. Prints what came of them as JSON; exits 1 when one crashed,
took too long, or came out as what is no picture. The same SEED breaks them in the same ways.
"""

import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from app.compress import MEDIA_TYPES, Limits, compress
from app.errors import ImageFailed
from app.models import BatchOptions, OutputFormat

PROJECT = Path(__file__).resolve().parents[1]
FILES = 10_000
LONGEST_SECONDS = 60
"""Half of what the service gives an image that it suspects."""
LIMITS = Limits()
COMMAND = (sys.executable, "-m", "benchmarks.fuzz_images", "--child")
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff")


@dataclass
class Found:
    """What came of the files; `bad` names those that broke a promise, by their number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    slowest_seconds: float = 0
    slowest: str = ""
    peak_mb: float = 0

    def add(self, line: dict[str, Any]) -> None:
        self.outcomes[line["outcome"]] += 1
        if line["bad"]:
            self.bad.append(f"{line['name']}: {line['bad']}")
        if line["seconds"] > self.slowest_seconds:
            self.slowest_seconds, self.slowest = line["seconds"], line["name"]
        self.peak_mb = max(self.peak_mb, line["peak_mb"])

    def as_json(self) -> dict[str, Any]:
        return {
            "files": self.outcomes.total(),
            "bad": self.bad,
            "slowest_seconds": round(self.slowest_seconds, 2),
            "slowest": self.slowest,
            "peak_mb": round(self.peak_mb),
            "outcomes": dict(self.outcomes.most_common()),
        }


def fuzz(files: int, seed: str, command: Sequence[str] = COMMAND) -> Found:
    """A child goes through the numbers; when one kills it, the next child goes on behind that."""
    found = Found()
    number = 0
    while number < files:
        child = subprocess.Popen(
            [*command, str(number), str(files), seed],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=PROJECT,
            text=True,
        )
        with child:
            for line in child.stdout or ():
                found.add(json.loads(line))
                number += 1
        if number < files:
            ended = f"the process ended with {child.returncode}"
            found.add(_line(f"file {number}", "crash", bad=ended))
            number += 1
    return found


def work(first: int, files: int, seed: str) -> None:
    """The child: a line of JSON for each file."""
    warnings.simplefilter("ignore")  # of pytest's strictness nothing comes over here
    for number in range(first, files):
        signal.alarm(LONGEST_SECONDS)  # whose default ends the process
        sys.stdout.write(json.dumps(_try(number, seed)) + "\n")
        sys.stdout.flush()


def _try(number: int, seed: str) -> dict[str, Any]:
    randomly = random.Random(f"{seed} {number}")
    name, source = broken(randomly)
    options = BatchOptions(format=randomly.choice(list(OutputFormat)))
    if not randomly.randrange(4):
        options = BatchOptions(format=options.format, max_width=randomly.choice((1, 33, 500)))
    name = f"file {number}, {name} as {options.format}"
    began = time.perf_counter()
    bad = ""
    with tempfile.TemporaryFile("w+b") as target:
        try:
            made = compress(source, target, options, LIMITS, reserve_pixels=_within_limits)
            outcome = made.extension
            target.seek(0)
            bad = _wrong_with(target.read(), made.extension)
        except ImageFailed as error:
            outcome = str(error.code)
        except Exception as error:  # noqa: BLE001 — it is what is looked for
            outcome, bad = "exception", f"{type(error).__name__}: {error}"
    return _line(name, outcome, bad=bad, seconds=time.perf_counter() - began)


def _line(name: str, outcome: str, *, bad: str, seconds: float = 0) -> dict[str, Any]:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"name": name, "outcome": outcome, "bad": bad, "seconds": seconds, "peak_mb": peak_mb}


def _within_limits(pixels: int) -> None:
    """Those that take more memory count twice."""
    assert pixels <= 2 * LIMITS.max_pixels, f"{pixels} pixels"


def _wrong_with(made: bytes, extension: str) -> str:
    """Empty for a picture that can be decoded, of the type that it will be served as."""
    with Image.open(io.BytesIO(made)) as picture:
        if Image.MIME[picture.format or ""] != MEDIA_TYPES[extension]:
            return f"is {picture.format} and not {extension}"
        if getattr(picture, "n_frames", 1) > LIMITS.max_frames:
            return "has too many frames"
        picture.load()
    return ""


@cache
def samples() -> dict[str, bytes]:
    kinds = (".jpg", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff", ".bmp")
    paths = sorted(path for path in (PROJECT / "samples").iterdir() if path.suffix in kinds)
    return {path.name: path.read_bytes() for path in paths}


def broken(randomly: random.Random) -> tuple[str, bytes]:
    """A sample with one to forty breaks, most of them near its beginning."""
    kinds = sorted({Path(name).suffix for name in samples()})
    kind = randomly.choice(kinds)  # else most would be JPEG
    name = randomly.choice([name for name in samples() if name.endswith(kind)])
    source = bytearray(samples()[name])
    for _ in range(randomly.choice((1, 1, 2, 3, 8, 40))):
        _break(source, randomly)
    return name, bytes(source)


def _break(source: bytearray, randomly: random.Random) -> None:
    span = min(randomly.choice((40, 400, 2_000, len(source), len(source))), len(source))
    at = randomly.randrange(max(span, 1))
    match randomly.randrange(8):
        case 0 | 1:
            source[at : at + 1] = randomly.randbytes(1)
        case 2:
            source[at : at + 4] = randomly.choice(EXTREMES)
        case 3:
            source[at : at + 2] = randomly.choice(EXTREMES)[:2]
        case 4:
            del source[at : at + randomly.randrange(64)]
        case 5:
            source[at:at] = randomly.randbytes(randomly.randrange(64))
        case 6:
            source[at:at] = source[at : at + randomly.randrange(2_000)]
        case _:
            del source[len(source) - randomly.randrange(len(source) // 2 + 1) :]


def main() -> int:
    if "--child" in sys.argv:
        first, files, seed = sys.argv[2:]
        work(int(first), int(files), seed)
        return 0
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    seed = sys.argv[2] if len(sys.argv) > 2 else str(random.randrange(10**6))
    found = fuzz(files, seed)
    sys.stdout.write(json.dumps({"seed": seed} | found.as_json(), indent=1) + "\n")
    return 1 if found.bad else 0


if __name__ == "__main__":
    sys.exit(main())
