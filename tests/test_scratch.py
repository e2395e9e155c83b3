"""Temporary files: nothing is left of them, not even of those that a killed process had."""

import os
import tempfile
import time

import pytest

from app.errors import StorageUnavailable
from app.scratch import STALE_SECONDS, disk_errors, scratch_file, scratch_folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_file_has_no_name(folder):
    with scratch_file() as file:
        file.write(b"a")

        assert list(folder.iterdir()) == []


def test_a_folder_goes_with_all_in_it(folder):
    with scratch_folder() as made:
        (made / "a").write_text("a")
        assert made.parent == folder

    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_goes_after_a_day_and_nothing_else_does(folder):
    old_at = time.time() - STALE_SECONDS - 60
    for name, at in {
        "workbook-a": old_at,
        "workbook-b": time.time(),
        "pressroom-c": old_at,
    }.items():
        (folder / name).mkdir()
        os.utime(folder / name, (at, at))

    with scratch_folder():
        pass

    assert {path.name for path in folder.iterdir()} == {"workbook-b", "pressroom-c"}


def test_what_the_disk_refuses_is_told_as_such():
    with pytest.raises(StorageUnavailable, match="the disk refuses: No space left"), disk_errors():
        raise OSError(28, "No space left on device")
