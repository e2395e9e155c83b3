"""Files → a ZIP: that any reader unpacks, however many there are, with names that Windows takes."""

import io
import subprocess
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import archive
from app.archive import Member, portable_name, write_archive
from app.making import Job, file_name
from app.models import BatchOptions

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
MANY = 70_000


def members(contents):
    for name, content in contents.items():
        yield Member(name, io.BytesIO(content))


def written(contents):
    return b"".join(write_archive(members(contents), NOW))


def uses_zip64(data):
    return b"PK\x06\x06" in data


def is_whole(data, folder):
    path = folder / "it.zip"
    path.write_bytes(data)
    return subprocess.run(["unzip", "-tqq", path], check=False).returncode == 0


def test_every_file_comes_out_as_it_went_in(tmp_path):
    contents = {"a.csv": b"SKU\r\n1\r\n", "1-1-größe.jpg": bytes(200_000), "empty.txt": b""}

    data = written(contents)

    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert {name: found.read(name) for name in found.namelist()} == contents
        assert {info.compress_type for info in found.infolist()} == {zipfile.ZIP_STORED}
    assert is_whole(data, tmp_path)


def test_sizes_stand_in_front_of_what_they_measure_so_that_a_reader_need_not_seek():
    with zipfile.ZipFile(io.BytesIO(written({"a.jpg": b"abc"}))) as found:
        data_descriptor = 8
        assert not found.infolist()[0].flag_bits & data_descriptor


def test_a_small_archive_needs_no_zip64():
    assert not uses_zip64(written({"a.jpg": b"abc"}))


def test_more_files_than_plain_zip_can_count_are_all_there(tmp_path):
    data = written({f"{row}-1-image.jpg": b"%d" % row for row in range(1, MANY + 1)})

    assert uses_zip64(data)
    assert is_whole(data, tmp_path)
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert len(found.namelist()) == MANY
        assert found.read(f"{MANY}-1-image.jpg") == b"%d" % MANY


def test_more_bytes_than_plain_zip_can_address_are_all_there(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PLAIN_BYTES", 250_000)

    data = written({f"{row}.jpg": bytes(100_000) for row in range(4)})

    assert uses_zip64(data)
    assert is_whole(data, tmp_path)


def test_nothing_is_opened_before_its_turn_and_hanging_up_ends_it():
    opened = []
    closed = []

    def watched():
        try:
            for row in range(100):
                opened.append(row)
                yield Member(f"{row}.jpg", io.BytesIO(bytes(200_000)))
        finally:
            closed.append(True)

    chunks = write_archive(watched(), NOW)
    next(chunks)
    assert opened == [0]
    chunks.close()

    assert closed == [True]


def test_a_file_that_changes_while_it_is_read_breaks_the_archive_off():
    class Changing(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            return super().read(size).replace(b"a", b"b" if self.reads > 2 else b"a")

    with pytest.raises(ValueError):  # noqa: PT011 (the library's, of no message)
        b"".join(write_archive(iter_of(Member("a.jpg", Changing(b"aaa"))), NOW))


def iter_of(*found):
    yield from found


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("catalog", "catalog-compressed.csv"),
        ("März 2026", "März 2026-compressed.csv"),
        ('a<b>:"c|d?e*f\\g', "a_b___c_d_e_f_g-compressed.csv"),
        ("con", "con-compressed.csv"),
        ("CON.v2", "_CON.v2-compressed.csv"),
        ("lpt1 .x", "_lpt1 .x-compressed.csv"),
        ("console.x", "console.x-compressed.csv"),
        ("ü" * 255, "ü" * 92 + "-compressed.csv"),
    ],
)
def test_a_name_is_one_that_windows_takes(stem, name):
    assert portable_name(stem, "-compressed.csv") == name


hostile = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["con", "NUL", "aux.", "..", "a. ", "COM1.x", "%2e%2e%5cx", "ä" * 300]),
)


@given(hostile, hostile, st.integers(1, 1_000_000))
def test_names_of_images_are_portable_as_they_are(folder, source_name, row):
    url = f"https://h.example.com/{folder}/{source_name}.jpg"
    name = file_name(Job(url, (row, 1), "r", BatchOptions(), bool), b"", "jpg")

    assert portable_name(name.removesuffix(".jpg"), ".jpg") == name
    assert name == name.lower()
    assert name.isascii()
