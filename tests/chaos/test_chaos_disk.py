"""A full disk is no image's fault: uploads are refused, work waits, and goes on with room."""

import resource
import subprocess
from contextlib import contextmanager

import pytest

from tests.chaos.judge import judge
from tests.chaos.scale import IS_LONG
from tests.chaos.world import wait_for

IMAGES = 400 if IS_LONG else 80
DISK_BYTES = 16 << 20
ROOM_BYTES = 2 << 20
"""MIN_FREE_BYTES where the service is to stop before the disk is full."""
REFUSALS = 3


@pytest.fixture
def small_disk(world):
    """A disk of 16 MB for uploads, images and outputs; a function fills it, or empties it again."""
    disk = world.folder / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},nr_inodes=100k", "chaos", disk],
        check=True,
    )
    for area in ("uploads", "processed", "outputs"):
        (disk / area).mkdir()
        (world.folder / area).symlink_to(disk / area)
    yield disk / "ballast"
    for life in world.lives:
        life.kill()
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(ballast):
    """Writes until nothing more fits."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


@contextmanager
def no_file_can_grow(life):
    """Every write of the service to a file fails, as on a full disk, where none can be mounted."""
    pid, unlimited = life.process.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
