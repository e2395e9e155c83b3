"""The body that `flask submit` sends, as it is read back by what the service reads with."""

import io

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from app.cli.form import CHUNK_BYTES, Form
from app.errors import BadRequest


@pytest.fixture
def open_file(tmp_path):
    """A function that opens a file of so many bytes."""
    path = tmp_path / "catalog.csv"
    opened = []

    def make(size):
        path.write_bytes(b"x" * size)
        opened.append(path.open("rb"))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def read_back(form):
    body = b"".join(form)
    assert len(body) == len(form)
    builder = EnvironBuilder(
        method="POST", input_stream=io.BytesIO(body), content_type=form.content_type
    )
    builder.content_length = len(form)
    return Request(builder.get_environ())


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
def test_a_file_and_fields_arrive_as_they_were(open_file, size):
    fields = {"quality": 50, "image_column": ("Bild", "Größe"), "on_error": "skip"}

    with read_back(Form(open_file(size), 'Män"ner.csv', fields)) as request:
        assert request.files["file"].filename == 'Män"ner.csv'
        assert request.files["file"].read() == b"x" * size
        assert request.form.to_dict(flat=False) == {
            "quality": ["50"],
            "image_column": ["Bild", "Größe"],
            "on_error": ["skip"],
        }


def test_it_is_sent_again_from_its_beginning(open_file):
    form = Form(open_file(CHUNK_BYTES + 1), "a.csv", {})
    next(iter(form))

    assert b"".join(form) == b"".join(form)


def test_no_more_than_a_chunk_of_the_file_is_in_memory(open_file):
    file = open_file(4 * CHUNK_BYTES)
    chunks = iter(Form(file, "a.csv", {}))

    for read in (0, 1, 2):
        assert len(next(chunks)) <= CHUNK_BYTES
        assert file.tell() == read * CHUNK_BYTES


def test_a_file_that_becomes_shorter_is_told(open_file, tmp_path):
    form = Form(open_file(10), "a.csv", {})
    (tmp_path / "catalog.csv").write_bytes(b"")

    with pytest.raises(BadRequest, match=r"a\.csv became shorter"):
        list(form)
