"""Where image bytes come from: politely from the network, or from the samples that ship here."""

import time
from pathlib import Path
from typing import Protocol

from app.budget import TakeUpTo
from app.errors import ImageFailed, NotFound
from app.hosts import Hosts, host_of
from app.models import Source
from app.outbound import Fetched

_SERVED = (".csv", ".jpg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")


class Fetcher(Protocol):
    """Fetches an image, unless it is as it was known; room is taken for one from outside.

    Raises ImageFailed, NoRoom.
    """

    def fetch(
        self, url: str, timeout_seconds: float, take_up_to: TakeUpTo, known: Source | None
    ) -> Fetched: ...


class Samples:
    """The folder `samples/`, under `BASE_URL/samples/`."""

    def __init__(self, folder: Path, base_url: str):
        self._folder = folder
        self._prefix = f"{base_url}/samples/"

    def has(self, url: str) -> bool:
        """Whether a URL names something below `BASE_URL/samples/`, there or not."""
        return url.startswith(self._prefix)

    def path(self, name: str) -> Path:
        """The file of that name. Raises NotFound for any other."""
        path = self._folder / name
        is_served = path.parent == self._folder and path.suffix in _SERVED
        if not is_served or "\0" in name or not path.is_file():
            raise NotFound(f"there is no sample {name}")
        return path

    def read(self, url: str) -> Fetched:
        """What a connection to ourselves would have brought. Raises ImageFailed."""
        try:
            path = self.path(url.removeprefix(self._prefix))
        except NotFound as error:
            raise ImageFailed("http_404", "Not Found", permanent=True) from error
        return Fetched(path.read_bytes(), final_url=url, etag=None, last_modified=None)


class Polite:
    """Fetches from outside as `hosts` allows, and tells it what came of it."""

    def __init__(self, outbound: Fetcher, hosts: Hosts):
        self._outbound = outbound
        self._hosts = hosts

    def fetch(
        self, url: str, timeout_seconds: float, take_up_to: TakeUpTo, known: Source | None
    ) -> Fetched:
        host = host_of(url)
        self._hosts.check(host)
        began_at = time.monotonic()
        try:
            fetched = self._outbound.fetch(url, timeout_seconds, take_up_to, known)
        except ImageFailed as error:
            self._hosts.failed(host, began_at, error)
            raise
        self._hosts.answered(
            host,
            began_at,
            fetched.elapsed_seconds,
            len(fetched.body),
            is_unchanged=fetched.is_unchanged,
        )
        return fetched


class Sources:
    """The fetcher that the pipeline uses: samples without a connection, all else from outside."""

    def __init__(self, samples: Samples, outbound: Fetcher):
        self._samples = samples
        self._outbound = outbound

    def fetch(
        self, url: str, timeout_seconds: float, take_up_to: TakeUpTo, known: Source | None
    ) -> Fetched:
        if self._samples.has(url):
            return self._samples.read(url)
        return self._outbound.fetch(url, timeout_seconds, take_up_to, known)
