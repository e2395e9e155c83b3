"""What every storage must do. A new one joins by a parameter of the fixture."""

import errno
import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import NotFound, StorageUnavailable
from app.storage import Copy
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


def test_many_files_are_put_each_with_its_own_content(storage):
    storage.put_all({"processed/one/a.jpg": b"a", "processed/two/b.jpg": b"b" * 100_000})

    with storage.open("processed/one/a.jpg") as a, storage.open("processed/two/b.jpg") as b:
        assert (a.read(), b.read()) == (b"a", b"b" * 100_000)


def test_of_many_files_that_do_not_all_fit_nothing_half_written_is_left(storage, tmp_path):
    files = {"processed/id/small.jpg": b"x", "processed/id/large.jpg": b"x" * 3000}

    with pytest.raises(StorageUnavailable, match="File too large"), files_of_at_most(1000):
        storage.put_all(files)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_too_little_room_is_said_with_the_setting(tmp_path):
    storage = LocalStorage({"uploads": tmp_path}, min_free_bytes=2**62)

    with pytest.raises(StorageUnavailable, match="MIN_FREE_BYTES=4611686018427387904"):
        storage.check_room()


@contextmanager
def files_of_at_most(size_bytes):
    """What the kernel refuses then is refused as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_told_as_such_and_leaves_nothing(storage, tmp_path):
    """What waits in Python's buffer meets the full disk only when the file is closed."""
    with pytest.raises(StorageUnavailable, match="File too large"), files_of_at_most(1000):
        put(storage, "processed/id/a.jpg", b"x" * 3000)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_refuses_is_nobody_elses_fault(tmp_path):
    (tmp_path / "processed").write_text("a file where a folder should be")
    storage = LocalStorage({"processed": tmp_path / "processed"}, min_free_bytes=0)

    with pytest.raises(StorageUnavailable), storage.create("processed/id"):
        pass


# Copies


def test_a_copy_is_a_file_of_its_own(storage):
    put(storage, "processed/one/a.jpg", b"picture")

    there = storage.copy_all([Copy("processed/one/a.jpg", "processed/two/b.jpg", 7)])
    storage.delete("processed/one")

    assert there == {"processed/two/b.jpg"}
    with storage.open("processed/two/b.jpg") as file:
        assert file.read() == b"picture"


@pytest.mark.parametrize(
    ("source", "size"), [("processed/one/missing.jpg", 7), ("processed/one/a.jpg", 8)]
)
def test_what_is_gone_or_has_another_size_is_not_copied(storage, source, size):
    put(storage, "processed/one/a.jpg", b"picture")
    copies = [
        Copy(source, "processed/two/b.jpg", size),
        Copy("processed/one/a.jpg", "processed/two/c.jpg", 7),
    ]

    assert storage.copy_all(copies) == {"processed/two/c.jpg"}
    with pytest.raises(NotFound):
        storage.open("processed/two/b.jpg")


def test_copying_again_overwrites_nothing(storage):
    put(storage, "processed/one/a.jpg", b"picture")
    copies = [Copy("processed/one/a.jpg", "processed/two/b.jpg", 7)]

    assert storage.copy_all(copies) == storage.copy_all(copies) == {"processed/two/b.jpg"}


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
