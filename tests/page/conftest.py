"""What the tests of the page share: the service as a process, with and without keys, and Chromium.

One of each for all of them, on a MongoDB server that pytest's worker has anyway.
"""

import pytest

from tests.page.browser import KEY, chromium, opened
from tests.service_process import service_process


@pytest.fixture(scope="package")
def service(mongodb, tmp_path_factory):
    """Open to everybody."""
    folder = tmp_path_factory.mktemp("open")
    with service_process(folder, MONGODB_URI=mongodb, MONGODB_DATABASE="page_open") as service:
        yield service.wait_until_ready()


@pytest.fixture(scope="package")
def keyed(mongodb, tmp_path_factory):
    """Wants a key."""
    folder = tmp_path_factory.mktemp("keyed")
    settings = {"MONGODB_URI": mongodb, "MONGODB_DATABASE": "page_keyed", "API_KEYS": f"ann:{KEY}"}
    with service_process(folder, **settings) as service:
        yield service.wait_until_ready()


@pytest.fixture(scope="package")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, service):
    with opened(browser, service.url) as page:
        yield page


@pytest.fixture
def catalogue(origin, jpeg):
    """A function that makes a file of rows, each of a name and paths that the origin serves."""

    def make(rows, name="catalog.csv", gate=None):
        lines = ["Product Name,Images"]
        for product, *paths in rows:
            for path in paths:
                if "gone" not in path:
                    origin.serve(path, jpeg, gate=gate if "held" in path else None)
            lines.append(f"{product},{' '.join(map(origin.url, paths))}")
        return {"name": name, "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}

    return make
