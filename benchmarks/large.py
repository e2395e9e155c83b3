"""One real job of very many images, some of which fail, and everything that is read of it."""

import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from app.database.private_server import PrivateServer
from benchmarks.bench import Bench
from benchmarks.memory import Watch, memory_rows, wait_until_idle
from benchmarks.report import Row
from benchmarks.runs import NotMeasured, tell
from benchmarks.service import Service, catalog_of, running

FAILS_EVERY = 100
PROGRESS_SECONDS = 0.5
VIEW_IMAGES = 10_000
CHUNK_BYTES = 1 << 20


class Wrong(Exception):
    """What was read is not what it should be; its text says how."""


def large(bench: Bench) -> list[Row]:
    count = bench.scale.large_thumbnails
    urls = bench.thumbnails.urls(bench.origin.plain, count)
    for number in range(0, count, FAILS_EVERY):
        urls[number] = f"{bench.origin.plain}/missing/{number}.jpg"
    failing = len(range(0, count, FAILS_EVERY))
    job = f"{count:,} thumbnails, {failing:,} failing"
    with bench.fresh_folder() as folder, running(folder, bench.inbox) as service:
        wait_until_idle(bench, service)
        with Watch(service.pid) as watch, Progress(service) as progress:
            request_id = service.upload(catalog_of(urls))
            progress.follow(request_id)
            service.wait(request_id)
        bench.raw["large"] = progress.as_json() | watch.as_json()
        tell(f"large: {bench.raw['large']}")
        read = _Reader(service, folder, request_id, count, failing).rows()
    return [*progress.rows(job, count), *memory_rows(job, watch), *read]


class Progress:
    """Slots done by time, as `/status` tells of them, in a thread; a context manager."""

    def __init__(self, service: Service):
        self._service = service
        self._ending = threading.Event()
        self._request_id = ""
        self._seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        if self._request_id:
            self._thread.join()

    def follow(self, request_id: str) -> None:
        self._request_id = request_id
        self._seen.append((time.perf_counter(), 0))
        self._thread.start()

    def rows(self, job: str, count: int) -> list[Row]:
        def at(share: float) -> float:
            return self._seconds_at(count * share)

        first, last = at(0.1) - at(0), at(1) - at(0.9)
        return [
            Row(f"{job}: images", count / (at(1) - at(0)), unit=" /s"),
            Row(f"{job}: last tenth's rate to the first's", first / last, unit="×", at_least=0.95),
        ]

    def as_json(self) -> dict[str, Any]:
        began = self._seen[0][0]
        step = max(1, len(self._seen) // 100)
        shown = self._seen[::step] + self._seen[-1:]
        return {"done_by_second": [[round(at - began, 2), done] for at, done in shown]}

    def _seconds_at(self, wanted: float) -> float:
        """When so many were done, between the two looks around it."""
        before = self._seen[0]
        for after in self._seen:
            if after[1] >= wanted:
                share = (wanted - before[1]) / ((after[1] - before[1]) or 1)
                return before[0] + share * (after[0] - before[0])
            before = after
        raise NotMeasured(f"only {before[1]:,} images were seen done")

    def _look(self) -> None:
        url, is_last = f"/status/{self._request_id}?images=none", False
        while not is_last:
            is_last = self._ending.wait(PROGRESS_SECONDS)
            progress = self._service.get(url).json()["progress"]
            self._seen.append((time.perf_counter(), progress["total"] - progress["remaining"]))


class _Reader:
    """Reads all there is of an ended request, and looks whether it is right."""

    def __init__(self, service: Service, folder: Path, request_id: str, count: int, failing: int):
        self._service = service
        self._folder = folder
        self._request_id = request_id
        self._count = count
        self._failing = failing

    def rows(self) -> list[Row]:
        readers: dict[str, Callable[[], str]] = {
            "GET /status": self._status,
            "GET /status?images=failed": self._failed,
            "GET /download": self._csv,
            "view requests": self._view,
            "GET /download/…/images.zip": self._zip,
        }
        return [self._row(f"… {name}", read) for name, read in readers.items()]

    def _row(self, measure: str, read: Callable[[], str]) -> Row:
        began, works = time.perf_counter(), True
        try:
            found = read()
        except NotMeasured as error:
            return Row(measure, None, note=str(error))
        except Wrong as error:
            found, works = str(error), False
        return Row(measure, time.perf_counter() - began, unit=" s", works=works, note=found)

    def _status(self) -> str:
        status = self._service.get(f"/status/{self._request_id}").json()
        progress = status["progress"]
        found = status["status"], progress["completed"], progress["failed"], len(status["images"])
        page = min(100, self._count)
        return _right(found, ("completed", self._count - self._failing, self._failing, page))

    def _failed(self) -> str:
        """Every page of the failures."""
        path, codes = f"/status/{self._request_id}?images=failed&limit=1000", []
        while path:
            page = self._service.get(path).json()
            codes += [image["error"]["code"] for image in page["images"].values()]
            path = page.get("next")
        return _right((len(codes), set(codes)), (self._failing, {"http_404"}))

    def _csv(self) -> str:
        text = self._service.get(f"/download/{self._request_id}").text.splitlines()
        completed = sum(line.endswith(",completed,") for line in text)
        return _right((len(text) - 1, completed), (self._count, self._count - self._failing))

    def _view(self) -> str:
        """As a reader of design B does, straight from the database."""
        uri = PrivateServer(self._folder / "data").start()
        with MongoClient[dict[str, Any]](uri) as client:
            found = client["image_processor"]["requests"].find_one({"request_id": self._request_id})
        assert found
        wanted = "Completed", min(self._count, VIEW_IMAGES), self._count > VIEW_IMAGES
        return _right((found["status"], len(found["images"]), found["images_truncated"]), wanted)

    def _zip(self) -> str:
        path = self._folder / "images.zip"
        with self._service.get(f"/download/{self._request_id}/images.zip", stream=True) as reply:
            if reply.status_code == 404:
                raise NotMeasured("not built yet (404)")
            if reply.status_code != 200:
                raise Wrong(f"answered {reply.status_code}: {reply.text[:200]}")
            with path.open("wb") as file:
                for chunk in reply.iter_content(CHUNK_BYTES):
                    file.write(chunk)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        images = sum(name.endswith(".jpg") for name in names)
        found = _right((images, len(names)), (self._count - self._failing, images + 1))
        return f"{found}; {path.stat().st_size / 1e6:,.0f} MB"


def _right(found: object, wanted: object) -> str:
    """What was found. Raises Wrong when it is something else."""
    if found != wanted:
        raise Wrong(f"found {found}, not {wanted}")
    return f"found {found}"
