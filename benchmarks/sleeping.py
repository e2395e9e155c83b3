"""A worker whose codec sleeps instead of coding: `python -m benchmarks.sleeping SECONDS`.

So that the few cores of one machine can stand for many: all else of an image is done as it is.
"""

import sys
import time
from typing import Any, BinaryIO

import app.making
from app.compress import Compressed
from app.engine.celery import app as celery_app
from benchmarks.stubbed import CODED, replace

WORKER = ["worker", "--without-gossip", "--without-mingle", "--concurrency=1"]


def main(seconds: float) -> None:
    def compress(_source: bytes, target: BinaryIO, *_: Any, **__: Any) -> Compressed:
        time.sleep(seconds)
        target.write(CODED)
        return Compressed("jpg", kept_original=False, width=1, height=1)

    replace(app.making, "compress", compress)
    celery_app.worker_main(WORKER)


if __name__ == "__main__":
    main(float(sys.argv[1]))
