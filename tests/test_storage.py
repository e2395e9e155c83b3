"""What every storage must do. A new one joins by a parameter of the fixture."""

import os
import resource
import signal
from pathlib import Path

import pytest

from app.errors import NotFound, StorageUnavailable
from app.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path):
    areas = {area: tmp_path / area for area in ("uploads", "processed", "outputs")}
    return LocalStorage(areas, min_free_bytes=0)


def put(storage, key, content=b"content"):
    with storage.create(key.rpartition("/")[0]) as file:
        file.write(content)
        storage.put(key, file)


def test_what_was_put_can_be_opened(storage):
    put(storage, "processed/id/1-1-a.jpg", b"picture")

    with storage.open("processed/id/1-1-a.jpg") as file:
        assert file.read() == b"picture"


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


@pytest.mark.parametrize(
    "key",
    [
        "processed/id/missing.jpg",
        "processed/../uploads/id/upload",
        "processed/id/../../secret",
        "elsewhere/a",
        "processed//a",
        "processed/id/a\0b",
        "processed/id",
    ],
)
def test_a_key_that_names_no_file_is_not_found(storage, key):
    put(storage, "processed/id/a.jpg")

    with pytest.raises(NotFound):
        storage.open(key)


def test_files_under_way_are_not_served(storage):
    with storage.create("processed/id") as file:
        name = Path(file.name).name
        with pytest.raises(NotFound):
            storage.open(f"processed/id/{name}")


def test_deleting_removes_a_folder_and_again_does_no_harm(storage):
    put(storage, "processed/id/a.jpg")

    storage.delete("processed/id")
    storage.delete("processed/id")

    with pytest.raises(NotFound):
        storage.open("processed/id/a.jpg")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_put_returns(
    storage, monkeypatch
):
    steps = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor):
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        steps.append(f"fsync {kind}")
        fsync(descriptor)

    def noted_rename(path, target):
        steps.append("rename")
        return rename(path, target)

    with storage.create("processed/id") as file:
        file.write(b"picture")
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "rename", noted_rename)
        storage.put("processed/id/a.jpg", file)

    assert steps == ["fsync file", "rename", "fsync folder"]


def test_too_little_room_is_said_with_the_setting(tmp_path):
    storage = LocalStorage({"uploads": tmp_path}, min_free_bytes=2**62)

    with pytest.raises(StorageUnavailable, match="MIN_FREE_BYTES=4611686018427387904"):
        storage.check_room()


def test_a_full_disk_is_told_as_such_and_leaves_nothing(storage, tmp_path):
    """What waits in Python's buffer meets the full disk only when the file is closed."""

    def write_more_than_fits():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            put(storage, "processed/id/a.jpg", b"x" * 3000)
        except StorageUnavailable as error:
            return error

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.getsignal(signal.SIGXFSZ)
    try:
        error = write_more_than_fits()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert "File too large" in str(error)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_refuses_is_nobody_elses_fault(tmp_path):
    (tmp_path / "processed").write_text("a file where a folder should be")
    storage = LocalStorage({"processed": tmp_path / "processed"}, min_free_bytes=0)

    with pytest.raises(StorageUnavailable), storage.create("processed/id"):
        pass
