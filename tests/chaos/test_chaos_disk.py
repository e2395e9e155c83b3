"""A full disk is no image's fault: uploads are refused, work waits, and goes on with room."""

import hashlib
import re
import resource
import subprocess
from contextlib import contextmanager, suppress

import pytest

from app.storage.s3 import AREAS
from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG
from tests.chaos.world import wait_for

IMAGES = 400 if IS_LONG else 80
DISK_BYTES = 16 << 20
ROOM_BYTES = 2 << 20
"""MIN_FREE_BYTES where the service is to stop before the disk is full."""
LONGEST_BYTES = 3000
"""Shorter than the upload, longer than a service's log."""
REFUSALS = 3
WAITING = re.compile(r"(segment waits|work pauses) .*disk")
READY_WORDS = {0: "No space left", ROOM_BYTES: "fewer than MIN_FREE_BYTES"}


@pytest.fixture
def ballast(world):
    """A file on a disk of its own, of 16 MB, that uploads, images and outputs share."""
    disk = world.folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "chaos", str(disk)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    for area in AREAS:
        (disk / area).mkdir()
        (world.folder / area).symlink_to(disk / area)
    yield disk / "ballast"
    for life in world.lives:
        life.kill()
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def full(ballast):
    """Nothing more fits until the block ends."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def no_long_files(life):
    """The service can write no file as long as an upload, by a limit of the kernel; this needs no
    right to mount a disk."""
    pid = life.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (LONGEST_BYTES, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def assert_refused(reply, *words):
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert all(word in reply.json()["error"] for word in words), reply.json()


def visible_files(world, request_id):
    folder = world.folder / "processed" / request_id
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def assert_work_waits(world, request_id):
    """Until it has met the disk several times: nothing failed, and no part of a file is to see."""
    life = world.life
    wait_for(lambda: WAITING.search(life.log()), "the service to meet the full disk")
    for _ in range(REFUSALS):
        assert_refused(world.post_upload(b"Images\nhttp://127.0.0.1:1/a.jpg\n"))
    status = world.status(request_id)
    assert status["status"] == "processing"
    assert status["progress"]["failed"] <= 1  # the one that is missing
    for path in visible_files(world, request_id):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.stem.endswith(digest[:12]), f"{path.name} is a part"


@pytest.mark.parametrize("min_free_bytes", [0, ROOM_BYTES])
def test_a_full_disk_refuses_uploads_and_delays_work_and_fails_nothing(
    world, ballast, run_of, keep, min_free_bytes
):
    run = run_of(IMAGES, 100)
    world.settings |= {"PER_HOST_CONNECTIONS": 4, "MIN_FREE_BYTES": min_free_bytes}
    world.start().wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name)
    wait_for(lambda: world.done(request_id) > 10, "some images")

    with full(ballast):
        assert_work_waits(world, request_id)
        readiness = world.get("/readyz")
    world.wait_for_end(request_id)

    assert readiness.status_code == 503
    assert READY_WORDS[min_free_bytes] in readiness.json()["error"]
    counts = judge(world, {request_id: run}, hook=world.name)
    keep(f"8 disk full, MIN_FREE_BYTES={min_free_bytes}", runs=1, kills=0, **counts)


def test_an_upload_that_cannot_be_written_is_refused_and_leaves_nothing(world, run_of, keep):
    run = run_of(IMAGES, 100)
    life = world.start().wait_until_ready()

    with no_long_files(life):
        assert_refused(world.post_upload(run.catalogue.file, world.name), "the disk")
    request_id = world.upload(run.catalogue.file, world.name)
    world.wait_for_end(request_id)

    counts = judge(world, {request_id: run}, hook=world.name)
    keep("8 upload that the kernel refuses to write", runs=1, kills=0, **counts)
