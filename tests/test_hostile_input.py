"""Whatever is sent as options, form or catalogue is taken or refused, and breaks nothing."""

import io

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.api.forms import shown_name
from app.api.parsing import read_fields
from app.api.upload import UploadForm
from app.catalog import open_catalog
from app.errors import BadCatalog, BadRequest
from app.models import OutputFormat

bounded = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
values = st.one_of(
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["true", "skip", "keep", "all", "http://127.0.0.1/", "50", "\0", "９", "1_0"]),
)
forms = st.dictionaries(
    st.one_of(st.sampled_from(list(UploadForm.model_fields)), st.text(max_size=12)),
    st.lists(values, max_size=3),
    max_size=6,
)


@bounded
@given(sent=forms)
def test_options_are_within_their_ranges_or_refused(sent):
    try:
        form = read_fields(UploadForm, sent, "field")
    except BadRequest:
        return
    assert form.quality is None or 1 <= form.quality <= 95
    assert form.format is None or form.format in OutputFormat
    assert all(side is None or 1 <= side <= 65_535 for side in (form.max_width, form.max_height))
    assert form.dry_run in ("true", "false")


CATALOGUE = b'SKU,Images,Name\r\n1,"http://127.0.0.1/a.jpg, http://127.0.0.1/b.jpg","a ""b"""\r\n'


@st.composite
def broken_catalogues(draw):
    """A good one with a few bytes exchanged, or no catalogue at all."""
    text = bytearray(draw(st.sampled_from([CATALOGUE, CATALOGUE.decode().encode("utf-16")])))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 3))] = draw(
            st.one_of(
                st.binary(max_size=4), st.sampled_from([b'"', b"\r", b"\n", b"\0", b",", b";"])
            )
        )
    return bytes(text)


@bounded
@given(sent=st.one_of(broken_catalogues(), st.binary(max_size=200)))
@example(b"Images\n" + b'"' * 10_001)
@example(b"\xff\xfeI\0m\0a\0g\0e\0s\0\n\0\x00\xd8")
def test_a_catalogue_is_read_or_refused(sent):
    try:
        with open_catalog(io.BytesIO(sent)) as catalog:
            rows = list(catalog.rows())
    except BadCatalog:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert all(
        url.url.startswith(("http://", "https://")) or row.faults
        for row in rows
        for url in row.urls
    )


@pytest.fixture
def bare(client_of, settings):
    return client_of(settings)


FORM = (
    b'--x\r\nContent-Disposition: form-data; name="quality"\r\n\r\n50x\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
    b"Content-Type: text/csv\r\n\r\nSKU\n1\r\n--x--\r\n"
)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@bounded
@given(
    at=st.integers(0, len(FORM)),
    gone=st.integers(0, 30),
    put=st.one_of(st.binary(max_size=30), st.sampled_from([b"--x\r\n", b"\r\n\r\n", b"\0", b'"'])),
    boundary=st.sampled_from(
        ["boundary=x", "", "boundary=", "boundary=x; charset=utf-7", "boundary=ä"]
    ),
)
def test_a_broken_form_is_refused_as_json(bare, at, gone, put, boundary):
    body = FORM[:at] + put + FORM[at + gone :]

    reply = bare.post("/upload", data=body, content_type=f"multipart/form-data; {boundary}")

    assert reply.status_code in (400, 413)
    assert list(reply.json) == ["error"]


@bounded
@given(sent=st.one_of(st.text(), st.text(alphabet="./\\\0\r\n\u202eab", max_size=40)))
@example("../" * 3_000 + "x" * 10_000)
def test_a_file_name_is_short_and_no_path_whatever_was_sent(sent):
    name = shown_name(sent)

    assert 0 < len(name) <= 255
    assert not set("/\\\0\r\n\u202e") & set(name)


@bounded
@given(
    header=st.sampled_from(["Prefer", "Idempotency-Key", "Range", "If-None-Match"]),
    value=st.text(max_size=40),
)
def test_no_header_breaks_a_route(bare, header, value):
    value = value.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "")

    for path in ("/samples/cat-400.jpg", "/samples/catalog.csv"):
        assert bare.get(path, headers={header: value}).status_code in (200, 206, 304, 416)
