"""Folders: what is on the disk, in which order, and what a disk that refuses leaves behind."""

import errno
import os
from pathlib import Path

import pytest
from test_storage import files_of_at_most, put

from app.errors import NotFound, StorageUnavailable
from app.storage import Copy
from app.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path):
    areas = {area: tmp_path / area for area in ("uploads", "processed", "outputs")}
    return LocalStorage(areas, min_free_bytes=0)


def test_putting_the_same_again_overwrites_nothing(storage, tmp_path):
    put(storage, "processed/id/a.jpg")
    first = (tmp_path / "processed/id/a.jpg").stat()
    put(storage, "processed/id/a.jpg")

    assert (tmp_path / "processed/id/a.jpg").stat().st_ino == first.st_ino
    assert [path.name for path in (tmp_path / "processed/id").iterdir()] == ["a.jpg"]


def test_what_is_not_put_leaves_nothing(storage, tmp_path):
    with storage.create("processed/id") as file:
        file.write(b"half")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_under_way_are_not_served(storage):
    with storage.create("processed/id") as file:
        name = Path(file.name).name
        with pytest.raises(NotFound):
            storage.open(f"processed/id/{name}")


@pytest.fixture
def steps(monkeypatch):
    """What is done to the disk: fsync and rename, as they happen."""
    steps, fsync, rename = [], os.fsync, os.rename

    def noted_fsync(descriptor):
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        steps.append(f"fsync {kind}")
        fsync(descriptor)

    def noted_rename(path, target):
        steps.append("rename")
        rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    return steps


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_put_returns(
    storage, steps
):
    with storage.create("processed/id") as file:
        file.write(b"picture")
        steps.clear()
        storage.put("processed/id/a.jpg", file)

    assert steps == ["fsync file", "rename", "fsync folder"]


def test_many_files_are_on_the_disk_before_any_has_its_name_and_share_the_rest(storage, steps):
    put(storage, "processed/id/before.jpg")
    steps.clear()

    storage.put_all({f"processed/id/{name}.jpg": name.encode() for name in "abc"})

    assert steps == ["fsync file"] * 3 + ["rename"] * 3 + ["fsync folder"]


def test_of_many_files_that_do_not_all_fit_nothing_half_written_is_left(storage, tmp_path):
    files = {"processed/id/small.jpg": b"x", "processed/id/large.jpg": b"x" * 3000}

    with pytest.raises(StorageUnavailable, match="File too large"), files_of_at_most(1000):
        storage.put_all(files)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_too_little_room_is_said_with_the_setting(tmp_path):
    storage = LocalStorage({"uploads": tmp_path}, min_free_bytes=2**62)

    with pytest.raises(StorageUnavailable, match="MIN_FREE_BYTES=4611686018427387904"):
        storage.check_room()


def test_a_disk_that_refuses_is_nobody_elses_fault(tmp_path):
    (tmp_path / "processed").write_text("a file where a folder should be")
    storage = LocalStorage({"processed": tmp_path / "processed"}, min_free_bytes=0)

    with pytest.raises(StorageUnavailable), storage.create("processed/id"):
        pass


def test_many_copies_wait_for_the_disk_only_once(storage, steps):
    put(storage, "processed/one/a.jpg")
    put(storage, "processed/two/before.jpg")
    steps.clear()

    storage.copy_all([Copy("processed/one/a.jpg", f"processed/two/{n}.jpg", 7) for n in "abc"])

    assert steps == ["fsync folder"]


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV])
def test_where_there_are_no_more_links_the_bytes_are_copied(storage, monkeypatch, number):
    def refuse(_source, _target):
        raise OSError(number, "no link")

    monkeypatch.setattr(os, "link", refuse)
    put(storage, "processed/one/a.jpg", b"picture")

    assert storage.copy_all([Copy("processed/one/a.jpg", "processed/two/b.jpg", 7)])
    with storage.open("processed/two/b.jpg") as file:
        assert file.read() == b"picture"


def test_a_disk_that_refuses_a_link_is_nobody_elses_fault(storage, monkeypatch):
    def refuse(_source, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    put(storage, "processed/one/a.jpg")

    with pytest.raises(StorageUnavailable, match="No space left"):
        storage.copy_all([Copy("processed/one/a.jpg", "processed/two/b.jpg", 7)])
