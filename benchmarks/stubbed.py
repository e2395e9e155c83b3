"""The service with nothing to fetch and nothing to code: `python -m benchmarks.stubbed`.

What is left of an image's cost is the database, the files and the book-keeping. Its worker
processes, if it has any, are `python -m benchmarks.stubbed worker`.
"""

import sys
from typing import Any, BinaryIO

import app.making
import app.services
import app.serving
import app.worker
from app.compress import Compressed
from app.outbound import Fetched
from app.sources import Sources

SOURCE = b"fetched" * 50
CODED = b"coded" * 50


def fetch(_sources: Sources, url: str, *_: Any, **__: Any) -> Fetched:
    return Fetched(SOURCE, final_url=url, etag=None, last_modified=None)


def compress(_source: bytes, target: BinaryIO, *_: Any, **__: Any) -> Compressed:
    target.write(CODED)
    return Compressed("jpg", kept_original=False, width=1, height=1)


def main() -> None:
    replace(Sources, "fetch", fetch)
    replace(app.making, "compress", compress)
    engine = app.services.ProcessEngine
    command = [sys.executable, "-m", "benchmarks.stubbed", "worker"]
    replace(app.services, "ProcessEngine", lambda _command, count: engine(command, count))
    if sys.argv[1:] == ["worker"]:
        app.worker.main()
    else:
        sys.exit(app.serving.main())


def replace(owner: Any, name: str, stub: Any) -> None:
    """What is not there any more must not go on unnoticed."""
    assert hasattr(owner, name), f"{owner} has no {name}: benchmarks/stubbed.py is out of date"
    setattr(owner, name, stub)


if __name__ == "__main__":
    main()
