"""Nothing but coding: how fast the machine's cores can do it, and what the service's share costs.

    python -m benchmarks.coding codec FOLDER COUNT      decode and encode with Pillow, on all cores
    python -m benchmarks.coding compress FOLDER COUNT   the service's `compress`, in one process

A process of its own, which holds the files in memory before the clock starts; prints JSON.
"""

import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from app.compress import Limits, compress
from app.models import BatchOptions
from benchmarks.corpus import Corpus
from benchmarks.runs import Run

PROJECT = Path(__file__).resolve().parents[1]
QUALITY = 50
LIMITS = Limits(50_000_000, 200)
WARM_UP_IMAGES = 20


def run_codec(corpus: Corpus) -> Run:
    """The bare codec on all cores."""
    done = _run("codec", corpus)
    return Run(corpus.count, done["seconds"], {"bytes_out": done["bytes_out"]})


def compress_cpu_ms(corpus: Corpus, *, jpeg_optimize: bool = False) -> float:
    """Processor time an image of `app.compress.compress`, alone in one process."""
    done = _run("compress-optimize" if jpeg_optimize else "compress", corpus)
    return float(done["cpu_seconds"]) / corpus.count * 1000


def compress_median_ms(corpus: Corpus) -> float:
    """The same of the median image, with fitted tables as by default."""
    return float(_run("compress-optimize", corpus)["median_seconds"]) * 1000


def _run(what: str, corpus: Corpus) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.coding", what, str(corpus.folder)]
    command.append(str(corpus.count))
    output = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout
    return dict(json.loads(output))


def _codec(sources: list[bytes]) -> dict[str, Any]:
    """Processes take the next picture as each is done, so that none is left waiting at the end."""
    context = multiprocessing.get_context("fork")  # the children share what was read
    count = len(os.sched_getaffinity(0))
    taken, bytes_out = context.Value("l", 0), context.Value("l", 0)
    barrier = context.Barrier(count + 1)

    def work() -> None:
        written = _code(sources[0]) * 0
        barrier.wait()
        while True:
            with taken.get_lock():
                number = taken.value
                taken.value += 1
            if number >= len(sources):
                break
            written += _code(sources[number])
        with bytes_out.get_lock():
            bytes_out.value += written
        barrier.wait()

    workers = [context.Process(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return {"seconds": seconds, "bytes_out": bytes_out.value}


def _code(source: bytes) -> int:
    """Bytes written."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(source)) as picture:
        picture.save(target, "JPEG", quality=QUALITY)
    return target.tell()


def _compress(sources: list[bytes], *, jpeg_optimize: bool) -> dict[str, Any]:
    for source in sources[:WARM_UP_IMAGES]:
        _compress_one(source, jpeg_optimize)
    seconds = []
    for source in sources:
        began = time.process_time()
        _compress_one(source, jpeg_optimize)
        seconds.append(time.process_time() - began)
    return {"cpu_seconds": sum(seconds), "median_seconds": statistics.median(seconds)}


def _compress_one(source: bytes, jpeg_optimize: bool) -> None:
    with os.fdopen(os.memfd_create("image"), "w+b") as target:
        compress(source, target, BatchOptions(QUALITY), LIMITS, jpeg_optimize=jpeg_optimize)


def main(what: str, folder: str, count: str) -> None:
    sources = [path.read_bytes() for path in Corpus(Path(folder), int(count)).paths]
    if what == "codec":
        done = _codec(sources)
    else:
        done = _compress(sources, jpeg_optimize=what == "compress-optimize")
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
