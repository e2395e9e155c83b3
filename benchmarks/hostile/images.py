"""Eight pictures of 49 megapixels at once, in a process of their own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from app.budget import Budget
from app.compress import Limits
from app.making import IN_FLIGHT_BYTES, PIXELS_IN_FLIGHT, Fetched, ImageMaker, Job
from app.models import BatchOptions
from app.sources import Fetcher
from benchmarks.hostile.figures import Figure, Peak
from run import MEMORY
from tests.service_process import PROJECT

EIGHT = 8
SIDE = 7_000


class RecordingBudget(Budget):
    peak = 0

    def resize(self, old: int, new: int, is_worth_waiting: Callable[[], bool]) -> bool:
        was_resized = super().resize(old, new, is_worth_waiting)
        self.peak = max(self.peak, self._held)
        return was_resized


def eight_at_once(_folder: Path) -> Iterator[Figure]:
    for kind, source_format in (("photographs", "JPEG"), ("transparent drawings", "PNG")):
        command = [sys.executable, "-m", "benchmarks.hostile.images", source_format]
        environment = os.environ | MEMORY
        child = subprocess.run(
            command, cwd=PROJECT, check=True, capture_output=True, env=environment
        )
        seen = json.loads(child.stdout)
        what = f"eight {kind} of 49 megapixels at once"
        most = PIXELS_IN_FLIGHT / 10**6
        yield Figure(f"{what}: pixels in flight", seen["pixels"] / 10**6, " million", most)
        how = f"growth of VmHWM in a process that does nothing else; {source_format}, 8 threads"
        yield Figure(f"{what}: memory", seen["mb"], " MB", None, how)


def main(source_format: str) -> None:
    """The child."""
    source = _picture(source_format)
    pixels = RecordingBudget(PIXELS_IN_FLIGHT)
    maker = ImageMaker(
        sources=_nowhere(),
        memory=Budget(IN_FLIGHT_BYTES),
        pixels=pixels,
        limits=Limits(),
        jpeg_optimize=True,
        fetch_timeout_seconds=1,
    )
    job = Job("http://h/a.jpg", (1, 1), "id", BatchOptions(), is_wanted=lambda: True)
    peak = Peak(os.getpid())
    with ThreadPoolExecutor(EIGHT) as pool:
        list(
            pool.map(lambda _: maker.code(job, Fetched(source, maker.memory.room())), range(EIGHT))
        )
    sys.stdout.write(json.dumps({"pixels": pixels.peak, "mb": peak.mb}))


def _picture(source_format: str) -> bytes:
    """Made in a process of its own, whose memory is gone with it."""
    code = "import sys; from benchmarks.hostile.images import draw; draw(sys.argv[1])"
    command = [sys.executable, "-c", code, source_format]
    return subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout


def draw(source_format: str) -> None:
    with Image.open(PROJECT / "samples" / "cat-400.jpg") as sample:
        picture = sample.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    if source_format == "PNG":
        picture = picture.quantize(64).convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)).point(lambda a: a & 0xC0))
    file = io.BytesIO()
    picture.save(file, source_format)
    sys.stdout.buffer.write(file.getvalue())


def _nowhere() -> Fetcher:
    class Nowhere:
        def fetch(self, *_: object) -> object:
            raise NotImplementedError

    return Nowhere()  # type: ignore[return-value]


if __name__ == "__main__":
    main(*sys.argv[1:])
