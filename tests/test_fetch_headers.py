"""Headers by host: which file is refused and why, and to whom they are sent."""

import json
import threading
from io import BytesIO

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.config import read_settings
from app.errors import ImageFailed, SettingsError
from app.fetch_headers import FetchHeaders, read_fetch_headers
from app.outbound import Outbound
from tests.certificates import make_certificates
from tests.origin import Origin

SECRET = "Bearer s3cr3t"


# The file


@pytest.fixture
def refusal(tmp_path):
    """A function that returns why a file of this text stops the start."""

    def refuse(text):
        path = tmp_path / "headers.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SettingsError) as raised:
            read_settings(_env_file=None, fetch_headers_file=str(path))
        message = str(raised.value)
        assert message.startswith("FETCH_HEADERS_FILE: ")
        assert "s3cr3t" not in message
        return message

    return refuse


def test_a_file_is_read_with_or_without_a_bom(tmp_path):
    path = tmp_path / "headers.json"
    path.write_text(json.dumps({"Shop.Example": {"Authorization": SECRET}}), "utf-8-sig")

    headers = read_settings(_env_file=None, fetch_headers_file=str(path)).fetch_headers

    assert headers.of("https://shop.example/a.jpg") == (f"Authorization: {SECRET}",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a.example": {\n"X": "s3cr3t",}}', "line 2: it is no JSON"),
        (b"\xff\xfe", "line 1: it is no JSON in UTF-8"),
        ("[" * 100_000, "line 1: it is no JSON"),
        ('["a.example"]', "line 1: it is not an object"),
        ('{\n"https://a.example": {}}', "line 2: 'https://a.example' is no host such as"),
        ('{\n"a.*.example": {}}', "line 2: 'a.*.example' is no host"),
        ('{\n"a.example:0": {}}', "line 2: 'a.example:0' is no host"),
        ('{\n"a.example:65536": {}}', "line 2: 'a.example:65536' is no host"),
        ('{"a.example": {},\n"A.example": {}}', "line 2: A.example is there twice"),
        ('{\n\n"a.example": "s3cr3t"}', "line 3: what a.example is given is no object"),
        ('{"a.example": {\n"X Key": "s3cr3t"}}', "line 2: 'X Key' is no name of a header"),
        ('{"a.example": {\n"X:": "s3cr3t"}}', "line 2: 'X:' is no name of a header"),
        ('{"a.example": {\n"Host": "s3cr3t"}}', "line 2: Host is set by the service itself"),
        ('{"a.example": {\n"content-length": "1"}}', "line 2: content-length is set by the"),
        ('{"a.example": {\n"Transfer-Encoding": "x"}}', "line 2: Transfer-Encoding is set by"),
        ('{"a.example": {"X": "1",\n"x": "s3cr3t"}}', "line 2: x is there twice for one host"),
        ('{"a.example": {\n"X": "s3cr3t\\r\\nHost: b"}}', "line 2: the value of X is no text of"),
        ('{"a.example": {\n"X": "s3cr3t\\n"}}', "line 2: the value of X is no text of"),
        ('{"a.example": {\n"X": ""}}', "line 2: the value of X is no text of"),
        ('{"a.example": {\n"X": 5}}', "line 2: the value of X is no text of"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_line_and_reason(refusal, text, message):
    assert message in refusal(text)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match=r"FETCH_HEADERS_FILE: 'missing.json' cannot be read"):
        read_settings(_env_file=None, fetch_headers_file="missing.json")


def test_a_header_is_found_on_its_own_hosts_line(tmp_path):
    path = tmp_path / "headers.json"
    path.write_text('{"a.example": {"X-Key": "1"},\n"b.example":\n{"X-Key": ""}}')

    with pytest.raises(ValueError, match="line 3: the value of X-Key"):
        read_fetch_headers(path)


# Which host


@pytest.mark.parametrize(
    ("host", "url", "is_meant"),
    [
        ("a.example", "https://a.example/x", True),
        ("a.example", "http://A.EXAMPLE?x", True),
        ("a.example", "HTTPS://a.example:443", True),
        ("a.example", "https://a.example:8443/x", False),
        ("a.example:8443", "https://a.example:8443/x", True),
        ("a.example:8443", "https://a.example/x", False),
        ("a.example", "https://b.a.example/x", False),
        ("*.a.example", "https://b.a.example/x", True),
        ("*.a.example", "https://c.b.a.example/x", True),
        ("*.a.example", "https://a.example/x", False),
        ("*.a.example", "https://ba.example/x", False),
        ("*.a.example:81", "http://b.a.example:81/x", True),
        ("127.0.0.1", "http://127.0.0.1/x", True),
        ("[::1]:81", "http://[::1]:81/x", True),
        ("a.example", "http://evil.example#@a.example/", False),
        ("a.example", "http://evil.example\\@a.example/", False),
        ("a.example", "http://me@a.example/", False),
        ("a.example", "http:///a.example/", False),
        ("a.example", "http://a.example.evil.example/", False),
    ],
)
def test_which_urls_a_host_means(host, url, is_meant):
    assert FetchHeaders({host: ("X-Key: 1",)}).of(url) == (("X-Key: 1",) if is_meant else ())


def test_the_longest_name_counts_alone():
    names = ("b.a.example", "*.b.a.example", "*.a.example", "*.example", "a.example:81")
    headers = FetchHeaders({name: (f"X: {name}",) for name in names})

    def meant(host):
        return headers.of(f"http://{host}/")[0].removeprefix("X: ")

    assert meant("b.a.example") == "b.a.example"
    assert meant("c.b.a.example") == "*.b.a.example"
    assert meant("c.a.example") == "*.a.example"
    assert meant("a.example") == "*.example"
    assert meant("a.example:81") == "a.example:81"


# What is sent


@pytest.fixture
def other_origin():
    with Origin() as other:
        yield other


@pytest.fixture
def outbound_with():
    """A function that makes an Outbound with these headers."""
    made = []

    def make(by_host, **options):
        made.append(
            Outbound(
                guard=AddressGuard(parse_allowed_addresses("127.0.0.0/8, ::1")),
                user_agent="Pressroom/test",
                fetch_timeout_seconds=10,
                max_image_bytes=100_000,
                headers=FetchHeaders(by_host),
                **options,
            )
        )
        return made[-1]

    yield make
    for outbound in made:
        outbound.close()


def keys_sent(origin):
    return [(request.path, request.headers.get("x-key")) for request in origin.requests]


def test_a_host_gets_its_headers_and_no_other_does(origin, other_origin, outbound_with):
    outbound = outbound_with({origin.address: ("X-Key: mine", "Authorization: " + SECRET)})
    for one in (origin, other_origin):
        one.serve("/a.jpg", b"picture")

    for url in (origin.url("/a.jpg"), other_origin.url("/a.jpg"), origin.url("/a.jpg")):
        outbound.fetch(url)

    assert keys_sent(origin) == [("/a.jpg", "mine")] * 2
    assert origin.requests[0].headers["authorization"] == SECRET
    assert keys_sent(other_origin) == [("/a.jpg", None)]
    assert "authorization" not in other_origin.requests[0].headers


def test_a_redirect_takes_no_header_along_to_another_host(origin, other_origin, outbound_with):
    outbound = outbound_with({origin.address: ("X-Key: mine", "Authorization: " + SECRET)})
    origin.redirect("/a.jpg", "/b.jpg")
    origin.redirect("/b.jpg", other_origin.url("/c.jpg"))
    other_origin.redirect("/c.jpg", origin.url("/d.jpg"))
    origin.serve("/d.jpg", b"picture")

    fetched = outbound.fetch(origin.url("/a.jpg"))

    assert (fetched.body, fetched.final_url) == (b"picture", origin.url("/d.jpg"))
    assert keys_sent(origin) == [("/a.jpg", "mine"), ("/b.jpg", "mine"), ("/d.jpg", "mine")]
    assert keys_sent(other_origin) == [("/c.jpg", None)]
    assert SECRET not in str(other_origin.requests)


def test_the_same_server_by_another_name_is_another_host(origin, outbound_with):
    outbound = outbound_with({origin.address: ("X-Key: mine",)})
    origin.redirect("/a.jpg", origin.url("/b.jpg", host="localhost"))
    origin.serve("/b.jpg", b"picture")

    outbound.fetch(origin.url("/a.jpg"))

    assert keys_sent(origin) == [("/a.jpg", "mine"), ("/b.jpg", None)]


def test_a_redirect_to_a_host_of_the_table_brings_that_hosts_own(
    origin, other_origin, outbound_with
):
    outbound = outbound_with(
        {origin.address: ("X-Key: one",), other_origin.address: ("X-Key: other",)}
    )
    origin.redirect("/a.jpg", other_origin.url("/b.jpg"))
    other_origin.serve("/b.jpg", b"picture")

    outbound.fetch(origin.url("/a.jpg"))

    assert keys_sent(origin) + keys_sent(other_origin) == [("/a.jpg", "one"), ("/b.jpg", "other")]


def test_where_https_leads_to_http_nothing_is_sent(origin, outbound_with, tmp_path):
    certificates = make_certificates(tmp_path)
    with Origin(certificate=certificates.valid) as secure:
        outbound = outbound_with(
            {secure.address: ("X-Key: secret",), origin.address: ("X-Key: plain",)},
            ca_bundle=str(certificates.authority),
        )
        secure.redirect("/a.jpg", origin.url("/b.jpg"))
        origin.serve("/b.jpg", b"picture")

        outbound.fetch(secure.url("/a.jpg"))

        assert keys_sent(secure) + keys_sent(origin) == [("/a.jpg", "secret"), ("/b.jpg", None)]


def test_redirects_between_hosts_share_one_deadline_and_one_count(
    origin, other_origin, outbound_with
):
    outbound = outbound_with({origin.address: ("X-Key: mine",)})
    origin.redirect("/loop.jpg", other_origin.url("/loop.jpg"))
    other_origin.redirect("/loop.jpg", origin.url("/loop.jpg"))
    origin.redirect("/slow.jpg", other_origin.url("/slow.jpg"))
    other_origin.serve("/slow.jpg", b"picture", gate=threading.Event())

    with pytest.raises(ImageFailed) as endless:
        outbound.fetch(origin.url("/loop.jpg"))
    with pytest.raises(ImageFailed) as slow:
        outbound.fetch(origin.url("/slow.jpg"), timeout_seconds=0.3)

    assert (endless.value.code, slow.value.code) == ("too_many_redirects", "timeout")
    assert origin.count("/loop.jpg") + other_origin.count("/loop.jpg") == 11


def test_an_image_behind_a_login_is_fetched_by_the_service_and_no_log_tells_how(
    settings, build_services, client_of, origin, jpeg, tmp_path, wait_for, capfd
):
    def answer_those_who_may(request, send):
        may = request.headers.get("authorization") == SECRET
        origin._answers["/yes.jpg" if may else "/no.jpg"](request, send)

    origin.serve("/yes.jpg", jpeg)
    origin.serve("/no.jpg", status=401)
    origin.answer("/a.jpg", answer_those_who_may)
    path = tmp_path / "headers.json"
    path.write_text(json.dumps({origin.address: {"Authorization": SECRET}}))
    with_headers = settings.model_copy(update={"fetch_headers_file": str(path)})
    services = build_services(with_headers)
    services.start()
    client = client_of(with_headers, services)

    file = (BytesIO(f"Images\n{origin.url('/a.jpg')}\n".encode()), "c.csv")
    url = client.post("/upload", data={"file": file}).json["status_url"]

    wait_for(lambda: client.get(url).json["progress"]["completed"] == 1)
    assert "s3cr3t" not in "".join(capfd.readouterr())
