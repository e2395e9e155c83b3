"""No connection to a forbidden address, by whatever way it is named. A canary listens there.

Rebinding is simulated with libcurl's own table of resolved names (CURLOPT_RESOLVE), put into the
very handle that fetches, since a test has no name server: libcurl then dials what the table says,
as it would what a name server says.
"""

import pycurl
import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.errors import BadRequest, ImageFailed
from app.outbound import Outbound, PostFailed
from tests.origin import Canary, HangUp, LoopbackOnly, Origin, head


def make_outbound(allowed="", **options):
    return Outbound(
        guard=AddressGuard(parse_allowed_addresses(allowed)),
        user_agent="Pressroom/test",
        fetch_timeout_seconds=5,
        max_image_bytes=100_000,
        **{"open_socket": LoopbackOnly(), **options},
    )


def refusal(outbound, url):
    with pytest.raises(ImageFailed) as raised:
        outbound.fetch(url)
    assert (raised.value.code, raised.value.permanent) == ("forbidden_address", True)
    return str(raised.value)


@pytest.fixture
def origin():
    with Origin() as origin:
        yield origin


@pytest.fixture
def canary():
    with Canary() as canary:
        yield canary


@pytest.fixture
def outbound(origin):
    """May call the origin, nothing else."""
    return make_outbound(origin.address)


@pytest.fixture
def handles(monkeypatch):
    """The curl handles made during the test, in order."""
    made = []

    def remember():
        made.append(genuine())
        return made[-1]

    genuine = pycurl.Curl
    monkeypatch.setattr(pycurl, "Curl", remember)
    return made


def test_a_canary_sees_a_connection(canary):
    with pytest.raises(ImageFailed, match=r"after 0\.2 s"):
        make_outbound(canary.address).fetch(canary.url(), timeout_seconds=0.2)

    assert canary.was_called()


def test_the_refusal_gives_the_line_to_set_and_that_line_helps(origin):
    origin.serve("/a.jpg", b"picture")

    message = refusal(make_outbound(), origin.url("/a.jpg"))

    line = f"ALLOWED_ADDRESSES={origin.address}"
    assert message == f"127.0.0.1 is a loopback address, to call it anyway set {line}"
    assert make_outbound(line.partition("=")[2]).fetch(origin.url("/a.jpg")).body == b"picture"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]"]
)
def test_loopback_is_not_called_by_any_of_its_names(outbound, canary, host):
    message = refusal(outbound, canary.url("/a.jpg", host=host))

    assert message.endswith(f"ALLOWED_ADDRESSES=127.0.0.1:{canary.port}")
    assert not canary.was_called()


def test_ipv6_loopback_is_called_only_when_allowed():
    dialled = []

    def without_ipv6(address):  # as the machine that tests may be
        dialled.append(address.addr[:2])
        raise OSError("no IPv6 here")

    message = refusal(make_outbound(open_socket=without_ipv6), "http://[::1]:9000/a.jpg")
    assert (message.endswith("ALLOWED_ADDRESSES=[::1]:9000"), dialled) == (True, [])

    with pytest.raises(ImageFailed, match="cannot be reached"):
        make_outbound("[::1]:9000", open_socket=without_ipv6).fetch("http://[::1]:9000/a.jpg")
    assert dialled == [("::1", 9000)]


@pytest.mark.parametrize("host", [None, "localhost", "2130706433"])
def test_a_redirect_leads_to_no_forbidden_address(origin, outbound, canary, host):
    origin.redirect("/a.jpg", canary.url("/a.jpg", host=host))

    message = refusal(outbound, origin.url("/a.jpg"))

    assert message.endswith(f"ALLOWED_ADDRESSES=127.0.0.1:{canary.port}")
    assert not canary.was_called()


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("ftp://127.0.0.1/a.jpg", "only http:// and https:// are called"),
        ("file:///etc/passwd", "only http:// and https:// are called"),
        ("gopher://127.0.0.1/", "only http:// and https:// are called"),
        ("data:image/png;base64,AAAA", "only http:// and https:// are called"),
        ("http://u:secret@127.0.0.1/", "a URL with a user name or password is not called"),
        ("http://[::1", "it is not a well-formed URL"),
    ],
)
def test_a_redirect_leads_to_no_other_protocol_and_carries_no_password(
    origin, outbound, to, message
):
    origin.redirect("/a.jpg", to)

    assert refusal(outbound, origin.url("/a.jpg")) == message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1/a.jpg", "only http:// and https:// are called"),
        ("file:///etc/passwd", "only http:// and https:// are called"),
        ("127.0.0.1/a.jpg", "only http:// and https:// are called"),
        ("//127.0.0.1/a.jpg", "only http:// and https:// are called"),
        ("", "only http:// and https:// are called"),
        ("http://u:secret@127.0.0.1/", "a URL with a user name or password is not called"),
        ("http://u@127.0.0.1/", "a URL with a user name or password is not called"),
        ("http://@127.0.0.1/", "a URL with a user name or password is not called"),
        ("http://127.0.0.1/\r\nX-Evil: 1", "it is not a well-formed URL"),
    ],
)
def test_only_plain_http_urls_are_called(outbound, url, message):
    assert refusal(outbound, url) == message


def test_a_scheme_may_be_in_capitals(origin, outbound):
    origin.serve("/a.jpg", b"picture")

    assert outbound.fetch(origin.url("/a.jpg").replace("http", "HTTP")).body == b"picture"


def test_a_name_that_is_bound_to_another_address_meanwhile_is_judged_anew(handles):
    with Origin() as origin, Canary("127.0.0.2", origin.port) as canary:
        outbound = make_outbound(origin.address)
        url = origin.url("/a.jpg", host="rebinding.test")

        def answer_and_leave(_request, send):
            send(head(200, [("Content-Length", 7)]) + b"picture")
            raise HangUp

        origin.answer("/a.jpg", answer_and_leave)
        refusal(outbound, canary.url())  # makes the handle
        handles[0].setopt(pycurl.RESOLVE, [f"rebinding.test:{origin.port}:127.0.0.1"])
        assert outbound.fetch(url).body == b"picture"
        origin.wait_until(lambda: origin.open_connections() == 0)

        handles[0].setopt(pycurl.RESOLVE, [f"rebinding.test:{origin.port}:127.0.0.2"])

        assert "ALLOWED_ADDRESSES=127.0.0.2" in refusal(outbound, url)
        assert not canary.was_called()


def test_of_a_name_with_many_addresses_only_the_allowed_one_is_called(handles):
    with Origin() as origin, Canary("127.0.0.2", origin.port) as canary:
        origin.serve("/a.jpg", b"picture")
        outbound = make_outbound(origin.address)
        refusal(outbound, canary.url())
        addresses = "[::1],127.0.0.2,127.0.0.1,10.0.0.1"
        handles[0].setopt(pycurl.RESOLVE, [f"many.test:{origin.port}:{addresses}"])

        fetched = outbound.fetch(origin.url("/a.jpg", host="many.test"))

        assert fetched.body == b"picture"
        assert not canary.was_called()


def test_a_connection_of_a_trusted_call_is_not_reused_by_others(origin):
    outbound = make_outbound()
    origin.serve("/webhook", b"{}")
    outbound.post(origin.url("/webhook"), b"{}", {}, trusted=True)
    assert origin.open_connections() == 1

    refusal(outbound, origin.url("/webhook"))
    with pytest.raises(PostFailed, match=r"^forbidden_address 127\.0\.0\.1 is a loopback"):
        outbound.post(origin.url("/webhook"), b"{}", {})

    assert origin.connections == 1
    assert len(origin.requests) == 1


def test_the_proxies_of_the_environment_are_not_used(origin, canary, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, canary.url())
    origin.serve("/a.jpg", b"picture")

    assert make_outbound(origin.address).fetch(origin.url("/a.jpg")).body == b"picture"
    assert not canary.was_called()


def test_passwords_of_the_environment_are_not_sent(origin, outbound, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    origin.serve("/a.jpg", status=401, headers=[("WWW-Authenticate", "Basic")])

    with pytest.raises(ImageFailed):
        outbound.fetch(origin.url("/a.jpg"))

    assert "authorization" not in origin.requests[0].headers


def test_an_explicit_proxy_is_all_that_is_dialled(origin, canary, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    sockets = LoopbackOnly()
    outbound = make_outbound(proxy_url=origin.url(), open_socket=sockets)
    origin.serve("http://10.0.0.1/a.jpg", b"picture from the proxy")

    assert outbound.fetch("http://10.0.0.1/a.jpg").body == b"picture from the proxy"
    assert sockets.dialled == ["127.0.0.1"]


def test_the_own_receiver_is_called_without_the_proxy(origin, canary):
    outbound = make_outbound(proxy_url=canary.url())
    origin.serve("/webhook", b"{}")

    outbound.post(origin.url("/webhook"), b"{}", {}, trusted=True)

    assert origin.count("/webhook") == 1
    assert not canary.was_called()


@pytest.mark.parametrize("status", [403, 407, 503])
def test_what_a_proxy_refuses_is_no_answer_of_the_host(origin, status):
    origin.serve("images.example:443", status=status)
    outbound = make_outbound(proxy_url=f"http://me:secret@{origin.address}")

    with pytest.raises(ImageFailed) as raised:
        outbound.fetch("https://images.example/a.jpg")

    assert raised.value.code == "connect"
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:8080/hook", "ALLOWED_ADDRESSES=127.0.0.1:8080"),
        ("https://localhost/hook", "ALLOWED_ADDRESSES=127.0.0.1:443"),
        ("http://[::1]/hook", "ALLOWED_ADDRESSES=[::1]:80"),
        ("http://169.254.169.254/latest", "is a link-local address"),
        ("http://8.8.8.8:25/", "ALLOWED_ADDRESSES=8.8.8.8:25"),
        ("http://2130706433/", "127.0.0.1 is a loopback address"),
        ("ftp://8.8.8.8/", "only http:// and https:// are called"),
        ("8.8.8.8/hook", "only http:// and https:// are called"),
        ("http://me:secret@8.8.8.8/", "a URL with a user name or password is not called"),
        ("http://8.8.8.8/\nhook", "it is not a well-formed URL"),
        ("http://8.8.8.8/a hook", "it is not a well-formed URL"),
        ("http://8.8.8.8/h\u00f6\u00f6k", "it is not a well-formed URL"),
        ("http://8.8.8.8:99999/", "it is not a well-formed URL"),
        ("http://", "it is not a well-formed URL"),
        ("", "only http:// and https:// are called"),
    ],
)
def test_a_webhook_url_that_may_not_be_called_is_refused(outbound, url, message):
    with pytest.raises(BadRequest) as raised:
        outbound.check(url)

    assert str(raised.value).startswith("the URL may not be called: ")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["https://8.8.8.8/hook?a=b", "http://[2606:4700::1111]:8080/", "https://unheard-of.onion/hook"],
)
def test_a_webhook_url_that_may_be_called_or_may_be_there_tomorrow_is_accepted(url):
    sockets = LoopbackOnly()

    make_outbound(open_socket=sockets).check(url)

    assert sockets.dialled == []


def test_checking_an_allowed_url_connects_to_nothing(canary):
    make_outbound(canary.address).check(canary.url("/hook"))

    assert not canary.was_called()


def test_a_checked_name_is_refused_when_all_its_addresses_are(canary, monkeypatch):
    def resolving(*addresses):
        def make():
            curl = genuine()
            curl.setopt(pycurl.RESOLVE, [f"hooks.test:80:{','.join(addresses)}"])
            return curl

        monkeypatch.setattr(pycurl, "Curl", make)

    genuine = pycurl.Curl
    resolving("10.0.0.1", "[fd00::1]")
    with pytest.raises(BadRequest, match=r"ALLOWED_ADDRESSES=10\.0\.0\.1:80"):
        make_outbound().check("http://hooks.test/")

    resolving("10.0.0.1", "8.8.8.8")
    make_outbound().check("http://hooks.test/")
