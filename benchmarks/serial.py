"""A plain serial loop, as many a script has it: requests, Pillow, one update an image.

With a session, so that its connection is kept: a loop without one is slower.
"""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from pymongo import MongoClient

from app.database.private_server import PrivateServer
from benchmarks.coding import QUALITY
from benchmarks.runs import Run


def run_serial(urls: Sequence[str], folder: Path) -> Run:
    """Every image fetched, compressed into a file, and marked as done in its document."""
    server = PrivateServer(folder)
    try:
        with MongoClient[dict[str, Any]](server.start()) as client:
            return _run(urls, folder, client)
    finally:
        server.stop()


def _run(urls: Sequence[str], folder: Path, client: MongoClient[dict[str, Any]]) -> Run:
    images = client["serial"]["images"]
    images.insert_many([{"_id": number, "url": url} for number, url in enumerate(urls)])
    bytes_out = 0
    with requests.Session() as session:
        began = time.perf_counter()
        for number, url in enumerate(urls):
            reply = session.get(url, timeout=60)
            path = folder / f"{number}.jpg"
            Image.open(io.BytesIO(reply.content)).save(path, "JPEG", quality=QUALITY)
            images.update_one({"_id": number}, {"$set": {"status": "completed", "path": str(path)}})
            bytes_out += path.stat().st_size
        seconds = time.perf_counter() - began
    return Run(len(urls), seconds, {"bytes_out": bytes_out})
