"""What every storage must do. A new one joins by a parameter of the fixture."""

import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from app.errors import NotFound, StorageUnavailable
from app.storage import Copy
from app.storage.local import LocalStorage
from app.storage.s3 import S3Storage
from app.storage.spool import Spool


@pytest.fixture(params=["folders", "bucket"])
def storage(request, tmp_path):
    if request.param == "bucket":
        return S3Storage(request.getfixturevalue("bucket"), Spool(tmp_path / "tmp", 0))
    areas = {area: tmp_path / area for area in ("uploads", "processed", "outputs")}
    return LocalStorage(areas, min_free_bytes=0)


def put(storage, key, content=b"content"):
    with storage.create(key.rpartition("/")[0]) as file:
        file.write(content)
        storage.put(key, file)


def read(storage, key):
    with storage.open(key) as file:
        return file.read()


def keys(storage, folder):
    """All that is there, however young."""
    return sorted(storage.find_older(folder, -60))


def test_what_was_put_can_be_opened(storage):
    put(storage, "processed/id/1-1-a.jpg", b"picture")

    assert read(storage, "processed/id/1-1-a.jpg") == b"picture"


def test_a_file_is_known_to_be_there_from_its_put_to_its_removal(storage):
    key = "processed/id/1-1-a.jpg"
    before = storage.has(key)
    put(storage, key)
    there = storage.has(key)
    storage.delete("processed/id")

    assert (before, there, storage.has(key)) == (False, True, False)
    with pytest.raises(NotFound):
        storage.open(key)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 8_388_608, 20_000_000])
def test_a_file_of_any_size_comes_back_as_it_was(storage, size):
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    put(storage, "uploads/id/upload", content)

    assert read(storage, "uploads/id/upload") == content


def test_an_open_file_tells_its_size_and_can_be_read_again_from_anywhere(storage):
    put(storage, "uploads/id/upload", bytes(100_000) + b"end")

    with storage.open("uploads/id/upload") as file:
        assert file.seek(0, 2) == 100_003
        assert file.seek(100_000) == 100_000
        assert file.read() == b"end"
        file.seek(0)
        assert len(file.read()) == 100_003


@pytest.mark.parametrize("size", [3, 9_000_000])
def test_what_is_there_is_never_overwritten(storage, size):
    put(storage, "outputs/id/1.csv", b"1" * size)

    put(storage, "outputs/id/1.csv", b"2" * size)
    storage.put_all({"outputs/id/1.csv": b"3"})

    assert read(storage, "outputs/id/1.csv") == b"1" * size


def test_of_two_who_put_at_once_one_wins_and_neither_fails(storage):
    contents = [bytes([n]) * 1000 for n in range(8)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: storage.put_all({"processed/id/a.jpg": one}), contents))

    assert read(storage, "processed/id/a.jpg") in contents


def test_what_is_not_put_leaves_nothing(storage):
    with storage.create("processed/id") as file:
        file.write(b"half")

    assert keys(storage, "processed") == []


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


def test_many_are_opened_in_order_and_what_is_gone_is_told(storage):
    names = [f"processed/id/{n}.jpg" for n in range(40)]
    storage.put_all({name: name.encode() * 5_000 for name in names if name != names[7]})

    for name, file in storage.open_each(names):
        if name == names[7]:
            assert file is None
            continue
        with file:
            assert file.read() == name.encode() * 5_000


def test_who_stops_before_all_are_opened_leaves_none_open(storage):
    names = [f"processed/id/{n}.jpg" for n in range(40)]
    storage.put_all(
        dict.fromkeys(names, bytes(100_000))
    )  # a file left open fails this as a warning
    taken = []

    with closing(storage.open_each(taken.append(name) or name for name in names)) as opened:
        next(opened)[1].close()

    assert len(taken) < 40


def test_what_is_no_key_is_not_deleted_with_what_is(storage):
    put(storage, "processed/id/a.jpg")

    for key in ("elsewhere", "", "processed/..", "processed/id/"):
        with pytest.raises(NotFound):
            storage.delete(key)

    assert keys(storage, "processed") == ["processed/id/a.jpg"]


def test_deleting_removes_a_folder_and_again_does_no_harm(storage):
    put(storage, "processed/id/a.jpg")
    put(storage, "processed/id-2/a.jpg")

    storage.delete("processed/id")
    storage.delete("processed/id")

    assert keys(storage, "processed") == ["processed/id-2/a.jpg"]


def test_deleting_a_file_leaves_its_neighbours(storage):
    storage.put_all({"processed/id/a.jpg": b"a", "processed/id/a.jpg.jpg": b"b"})

    storage.delete("processed/id/a.jpg")
    storage.delete("processed/id/a.jpg")

    assert keys(storage, "processed") == ["processed/id/a.jpg.jpg"]


def test_a_folder_of_more_files_than_a_page_has_is_listed_and_deleted_whole(storage):
    storage.put_all({f"processed/id/{n}.jpg": b"x" for n in range(1_100)})

    assert len(keys(storage, "processed/id")) == 1_100
    storage.delete("processed/id")

    assert keys(storage, "processed/id") == []


def test_only_what_is_old_enough_is_found(storage):
    put(storage, "processed/id/a.jpg")

    assert list(storage.find_older("processed/id", 60)) == []
    assert list(storage.find_older("processed/id", -60)) == ["processed/id/a.jpg"]
    assert list(storage.find_older("processed/other", -60)) == []


def test_many_files_are_put_each_with_its_own_content(storage):
    storage.put_all({"processed/one/a.jpg": b"a", "processed/two/b.jpg": b"b" * 100_000})

    with storage.open("processed/one/a.jpg") as a, storage.open("processed/two/b.jpg") as b:
        assert (a.read(), b.read()) == (b"a", b"b" * 100_000)


def test_too_little_room_is_said_with_the_setting(storage):
    getattr(storage, "_spool", storage)._min_free_bytes = 2**62

    with pytest.raises(StorageUnavailable, match="MIN_FREE_BYTES=4611686018427387904"):
        storage.check_room()


def test_trying_it_out_leaves_nothing(storage):
    storage.try_out()
    storage.check_room()

    assert [keys(storage, area) for area in ("uploads", "processed", "outputs")] == [[], [], []]


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


def test_a_full_disk_is_told_as_such_and_leaves_nothing(storage):
    """What waits in Python's buffer meets the full disk only when the file is closed."""
    with pytest.raises(StorageUnavailable, match="File too large"), files_of_at_most(1000):
        put(storage, "processed/id/a.jpg", b"x" * 3000)

    assert keys(storage, "processed") == []


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
