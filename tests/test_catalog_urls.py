"""What counts as an image URL, how it is fetched, and how several share a cell."""

import io
import time

import pytest

from app.catalog import BadUrl, absolute_url, open_catalog
from app.errors import BadCatalog, BadRequest


def urls_in(cell: str, base_url: str | None = None) -> list[str]:
    """Read `cell` as the image cell of a one-row catalog."""
    data = 'SKU;Images\n1;"' + cell.replace('"', '""') + '"\n'
    with open_catalog(io.BytesIO(data.encode()), base_url=base_url) as catalog:
        (row,) = catalog.rows()
    assert row.faults == ()
    return [image.url for image in row.urls]


@pytest.mark.parametrize(
    ("written", "fetched"),
    [
        ("https://cdn.example.com/a.jpg", "https://cdn.example.com/a.jpg"),
        ("http://cdn.example.com:8080/a.jpg", "http://cdn.example.com:8080/a.jpg"),
        ("https://cdn.example.com:65535/a.jpg", "https://cdn.example.com:65535/a.jpg"),
        ("https://cdn.example.com", "https://cdn.example.com"),
        ("https://my_bucket.example.com/a.jpg", "https://my_bucket.example.com/a.jpg"),
        ("https://example.com./a.jpg", "https://example.com./a.jpg"),
        ("HTTPS://CDN.Example.com/A.JPG", "HTTPS://CDN.Example.com/A.JPG"),
        ("//cdn.example.com/a.jpg", "https://cdn.example.com/a.jpg"),
        (" https://cdn.example.com/a.jpg ", "https://cdn.example.com/a.jpg"),
        ("https://cdn.example.com/my photo.jpg", "https://cdn.example.com/my%20photo.jpg"),
        ("https://cdn.example.com/größe.jpg", "https://cdn.example.com/gr%C3%B6%C3%9Fe.jpg"),
        ("https://cdn.example.com/a%20b é.jpg", "https://cdn.example.com/a%20b%20%C3%A9.jpg"),
        ("https://cdn.example.com/a.jpg?q=ü&w=1", "https://cdn.example.com/a.jpg?q=%C3%BC&w=1"),
        ("https://cdn.example.com/a|b{c}.jpg", "https://cdn.example.com/a%7Cb%7Bc%7D.jpg"),
        ("https://cdn.example.com/w_3,h_4/a.jpg", "https://cdn.example.com/w_3,h_4/a.jpg"),
        ("https://bücher.example.com/a.jpg", "https://xn--bcher-kva.example.com/a.jpg"),
        ("https://BÜCHER.example.com/a.jpg", "https://xn--bcher-kva.example.com/a.jpg"),
        ("https://例え.テスト/a.jpg", "https://xn--r8jz45g.xn--zckzah/a.jpg"),
        ("https://192.0.2.7/a.jpg", "https://192.0.2.7/a.jpg"),
        ("https://[2001:db8::1]:8443/a.jpg", "https://[2001:db8::1]:8443/a.jpg"),
        ("https://cdn.example.com/@user/a.jpg", "https://cdn.example.com/@user/a.jpg"),
    ],
)
def test_what_is_fetched_is_the_written_url_encoded(written: str, fetched: str):
    assert absolute_url(written, None) == fetched


@pytest.mark.parametrize(
    ("base_url", "path", "fetched"),
    [
        ("https://h.example.com", "a.jpg", "https://h.example.com/a.jpg"),
        ("https://h.example.com/", "/a.jpg", "https://h.example.com/a.jpg"),
        ("https://h.example.com/media", "/m/a.jpg", "https://h.example.com/media/m/a.jpg"),
        ("https://h.example.com/media/", "m/a b.jpg", "https://h.example.com/media/m/a%20b.jpg"),
        ("https://h.example.com/media", "//cdn.example.com/a.jpg", "https://cdn.example.com/a.jpg"),
        ("https://h.example.com/media", "http://x.example.com/a", "http://x.example.com/a"),
    ],
)
def test_base_url_is_the_folder_of_relative_paths(base_url: str, path: str, fetched: str):
    assert absolute_url(path, base_url) == fetched


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("gopher://h.example.com/1", "only http and https"),
        ("ftp://h.example.com/a.jpg", "only http and https"),
        ("data:image/png;base64,iVBORw0KGgo=", "only http and https"),
        ("javascript:alert(1)", "only http and https"),
        ("C:\\photos\\a.jpg", "only http and https"),
        ("a.jpg", "is a relative path: write a whole URL (https://…)"),
        ("/media/a.jpg", "is a relative path: write a whole URL (https://…)"),
        ("www.example.com/a.jpg", "write a whole URL"),
        ("https://", "names no host"),
        ("https:///a.jpg", "names no host"),
        ("https:/cdn.example.com/a.jpg", "names no host"),
        ("https://:8080/a.jpg", "names no host"),
        ("https://h.example.com:0/a.jpg", "from 1 to 65535"),
        ("https://h.example.com:65536/a.jpg", "from 1 to 65535"),
        ("https://h.example.com:99999999999999999999/a.jpg", "from 1 to 65535"),
        ("https://h.example.com:80a/a.jpg", "from 1 to 65535"),
        ("https://h.example.com:８０/a.jpg", "from 1 to 65535"),
        ("https://my host.example.com/a.jpg", "not a host name"),
        ("https://h..example.com/a.jpg", "not a host name"),
        ("https://-h.example.com/a.jpg", "not a host name"),
        ("https://h%2Eexample.com/a.jpg", "not a host name"),
        ("https://h.example.com\\@evil.example.com/a.jpg", "user name or password"),
        ("https://h.example.com\\a.jpg", "not a host name"),
        ("https://\u2100.example.com/a.jpg", "not a host name"),
        ("https://[::1/a.jpg", "bad host or port"),
        ("https://[fe80::1%25eth0]/a.jpg", "IPv6"),
        ("https://[not-an-address]/a.jpg", "not an IPv6 address"),
        ("https://h.example.com/a\tb.jpg", "U+0009"),
        ("https://h.example.com/a\nb.jpg", "U+000A"),
        ("https://h.example.com/a\x7f.jpg", "U+007F"),
        ("", "is empty"),
    ],
)
def test_what_is_no_image_url_is_refused_with_the_remedy(url: str, complaint: str):
    with pytest.raises(BadUrl) as refused:
        absolute_url(url, None)

    assert complaint in str(refused.value)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    with pytest.raises(BadUrl, match="user name or password") as refused:
        absolute_url("https://me:s3cret@h.example.com/a.jpg", None)

    assert "s3cret" not in str(refused.value)
    assert "h.example.com" in str(refused.value)


def test_a_long_url_is_cut_in_its_message():
    with pytest.raises(BadUrl) as refused:
        absolute_url("ftp://h.example.com/" + "a" * 100_000, None)

    assert len(str(refused.value)) < 250


@pytest.mark.parametrize("base_url", ["media", "ftp://h.example.com", "https://h/?x=", "https://"])
def test_a_base_url_that_is_no_url_is_refused_by_name(base_url: str):
    file = io.BytesIO(b"SKU,Images\n1,a.jpg\n")

    refused = pytest.raises(BadRequest, match=r"^base_url: (?!.*base_url)")
    with refused, open_catalog(file, base_url=base_url):
        pass


A, B, C = "https://h.example.com/a.jpg", "http://h.example.com/b.jpg", "//h.example.com/c.jpg"


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        (A, [A]),
        (f"{A},{B}", [A, B]),
        (f"{A}, {B}", [A, B]),
        (f"{A}|{B}", [A, B]),
        (f"{A} ; {B}", [A, B]),
        (f"{A} {B}", [A, B]),
        (f"{A}\n{B}\r\n{A}", [A, B, A]),
        (f"{A},{C}", [A, C]),
        (f"{C}|{A}", [C, A]),
        ("https://h.example.com/a,//b.jpg", ["https://h.example.com/a,//b.jpg"]),
        (f"{A},,{B}", [A, B]),
        (f" ,{A},{B},; ", [A, B]),
        ("  ", []),
        (",", []),
        ("no_selection", []),
        (f"{A},no_selection", [f"{A},no_selection"]),
        (
            "https://h.example.com/w_3,h_4;q/a b|c.jpg",
            ["https://h.example.com/w_3,h_4;q/a b|c.jpg"],
        ),
        (
            f"https://h.example.com/w_3,h_4/a.jpg,{B}",
            ["https://h.example.com/w_3,h_4/a.jpg", B],
        ),
        (f"https://h.example.com/a\\,b.jpg, {B}", ["https://h.example.com/a,b.jpg", B]),
        (f"https://h.example.com/?u=\\,{B}", [f"https://h.example.com/?u=,{B}"]),
        (f"https://h.example.com/?u={B}", [f"https://h.example.com/?u={B}"]),
    ],
)
def test_a_cell_of_urls_is_parted_before_schemes_only(cell: str, urls: list[str]):
    if urls:
        assert urls_in(cell) == urls
    else:
        with pytest.raises(BadCatalog, match="no valid image URL"):
            urls_in(cell)


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("/m/a.jpg,/m/b.jpg", ["/m/a.jpg", "/m/b.jpg"]),
        ("/m/a.jpg , /m/b.jpg,", ["/m/a.jpg", "/m/b.jpg"]),
        ("a.jpg|b.jpg;c.jpg", ["a.jpg", "b.jpg", "c.jpg"]),
        ("a.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        ("my photo.jpg,b.jpg", ["my photo.jpg", "b.jpg"]),
        ("/m/a.jpg /m/b.jpg", ["/m/a.jpg", "/m/b.jpg"]),
        ("/m/a\\,b.jpg,/m/c.jpg", ["/m/a,b.jpg", "/m/c.jpg"]),
        (f"/m/a.jpg,{A},/m/b.jpg", ["/m/a.jpg", A, "/m/b.jpg"]),
        (f"a.jpg,{A}", ["a.jpg", A]),
        ("no_selection,/m/a.jpg", ["/m/a.jpg"]),
        ("https://h.example.com/w_3,h_4/a.jpg", ["https://h.example.com/w_3,h_4/a.jpg"]),
    ],
)
def test_with_a_base_url_a_cell_of_paths_is_parted_too(cell: str, urls: list[str]):
    assert urls_in(cell, base_url="https://h.example.com/media") == urls


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(" " * 130_000, id="blanks"),
        pytest.param("," * 130_000 + "x", id="commas"),
        pytest.param(", " * 60_000 + "a" * 10_000, id="commas and blanks"),
        pytest.param("a," * 60_000, id="paths"),
        pytest.param(",a" * 60_000 + ":", id="near schemes"),
        pytest.param(",//a" * 30_000, id="near hosts"),
        pytest.param("https://" + "a." * 60_000, id="labels"),
        pytest.param("https://" + "a" * 120_000, id="one label"),
    ],
)
def test_a_hostile_cell_takes_no_time(cell: str):
    data = f'SKU;Images\n1;"{cell}"\n2;{A}\n'.encode()
    start = time.monotonic()

    with open_catalog(io.BytesIO(data), base_url="https://h.example.com") as catalog:
        list(catalog.rows())

    assert time.monotonic() - start < 5
