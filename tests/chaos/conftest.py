"""The trials in a short form, within seconds each; `CHAOS=long` runs them in full and keeps their
figures in docs/reliability.json."""

import time

import pytest

from tests.chaos import figures
from tests.chaos.catalogue import Run, catalogue_of, normalised
from tests.chaos.origin_client import OriginProcess
from tests.chaos.scale import IS_LONG
from tests.chaos.world import World, copy_checkout

_LONG_SECONDS = 1800
_HAS_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    if IS_LONG:
        for item in items:
            if "/chaos/" in item.path.as_posix():
                item.add_marker(pytest.mark.timeout(_LONG_SECONDS))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def origin_process():
    with OriginProcess() as origin:
        yield origin


@pytest.fixture(scope="session")
def run_of(checkout, origin_process):
    """A function from what `catalogue_of` takes to its `Run`; each is run once."""
    runs = {}

    def run(images, delay_ms=0, killers=0):
        key = images, delay_ms, killers
        if key not in runs:
            catalogue = catalogue_of(origin_process, images, delay_ms=delay_ms, killers=killers)
            with World(checkout, origin_process) as world:
                world.start().wait_until_ready()
                request_id = world.upload(catalogue.file)
                world.wait_for_end(request_id)
                output = world.get(f"/download/{request_id}").content
            runs[key] = Run(catalogue, normalised(output, request_id))
        return runs[key]

    return run


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call":
        item.stash[_HAS_FAILED] = report.failed


@pytest.fixture
def world(checkout, origin_process, request):
    with World(checkout, origin_process) as world:
        yield world
        if request.node.stash.get(_HAS_FAILED, False):
            world.print_logs()


@pytest.fixture
def keep():
    """A function that keeps a trial's figures, in the long form."""
    begun_at = time.monotonic()

    def keep(point, **counts):
        if IS_LONG:
            figures.record(point, seconds=round(time.monotonic() - begun_at), **counts)

    return keep
