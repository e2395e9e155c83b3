"""A few hundred broken pictures in a process of their own; `make fuzz` tries 10,000."""

import random
import sys

from app.compress import Limits
from benchmarks.fuzz_images import broken, fuzz

FILES = 400


def test_every_broken_picture_comes_out_as_a_picture_or_fails_by_itself():
    found = fuzz(FILES, "suite")

    assert found.bad == []
    assert found.outcomes.total() == FILES
    assert {"jpg", "png", "webp", "truncated", "decode_failed"} <= set(found.outcomes)
    assert found.peak_mb < 12 * Limits().max_pixels / 10**6 + 100


def test_a_file_is_broken_in_the_same_way_again():
    assert broken(random.Random("a 1")) == broken(random.Random("a 1"))


def test_a_picture_that_ends_its_process_is_told_and_the_others_are_tried():
    dies_at_the_first = (
        "import sys, os\n"
        "first, files = map(int, sys.argv[1:3])\n"
        "os.abort() if first == 0 else None\n"
        "from benchmarks.fuzz_images import work\n"
        "work(first, files, 'a')\n"
    )

    found = fuzz(3, "a", [sys.executable, "-c", dies_at_the_first])

    assert found.bad == ["file 0: the process ended with -6"]
    assert found.outcomes.total() == 3
