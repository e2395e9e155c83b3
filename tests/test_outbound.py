"""What a fetch brings in, and every way in which one fails; against a misbehaving local origin."""

import gzip
import http.client
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.errors import ImageFailed
from app.outbound import Outbound, find_ca_bundle
from tests.origin import HangUp, LoopbackOnly, Origin, head

MAX_IMAGE_BYTES = 100_000


@pytest.fixture
def origin():
    with Origin() as origin:
        yield origin


@pytest.fixture
def outbound():
    sockets = LoopbackOnly()
    outbound = Outbound(
        guard=AddressGuard(parse_allowed_addresses("127.0.0.0/8, ::1")),
        user_agent="Pressroom/test",
        fetch_timeout_seconds=20,
        max_image_bytes=MAX_IMAGE_BYTES,
        open_socket=sockets,
    )
    yield outbound
    outbound.close()
    assert set(sockets.dialled) <= {"127.0.0.1", "::1"}


def failure(outbound, url, **options):
    with pytest.raises(ImageFailed) as raised:
        outbound.fetch(url, **options)
    return raised.value


def test_an_image_comes_with_what_identifies_it(origin, outbound):
    dated = [("Last-Modified", "Sat, 31 Jan 2026 10:00:00 GMT")]
    origin.serve("/a.jpg", b"picture", etag='"v1"', headers=dated)

    fetched = outbound.fetch(origin.url("/a.jpg"))

    assert fetched.body == b"picture"
    assert fetched.final_url == origin.url("/a.jpg")
    assert fetched.etag == '"v1"'
    assert fetched.last_modified == "Sat, 31 Jan 2026 10:00:00 GMT"
    assert 0 < fetched.elapsed_seconds < 10


def test_nothing_of_one_answer_is_taken_for_the_next(origin, outbound):
    origin.serve("/a.jpg", b"a long picture", etag='"v1"')
    origin.serve("/b.jpg", b"short")
    outbound.fetch(origin.url("/a.jpg"))

    fetched = outbound.fetch(origin.url("/b.jpg"))

    assert (fetched.body, fetched.etag) == (b"short", None)


def test_the_host_is_told_who_calls_and_no_more(origin, outbound):
    origin.serve("/a.jpg", b"picture")

    outbound.fetch(origin.url("/a.jpg"))

    assert origin.requests[0].headers == {
        "host": origin.address,
        "user-agent": "Pressroom/test",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


def test_a_thread_keeps_its_connection(origin, outbound):
    origin.serve("/a.jpg", b"picture")
    origin.serve("/gone.jpg", b"a page about it", status=404)

    for _ in range(20):
        outbound.fetch(origin.url("/a.jpg"))
        failure(outbound, origin.url("/gone.jpg"))

    assert origin.connections == 1


def test_threads_fetch_at_once(origin, outbound):
    gate = threading.Event()
    origin.serve("/slow.jpg", b"picture", gate=gate)
    bodies = []
    threads = [
        threading.Thread(target=lambda: bodies.append(outbound.fetch(origin.url("/slow.jpg")).body))
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    origin.wait_until(lambda: origin.running("/slow.jpg") == 8)
    gate.set()
    for thread in threads:
        thread.join()

    assert bodies == [b"picture"] * 8


def test_closing_ends_connections_of_every_thread(origin, outbound):
    origin.serve("/a.jpg", b"picture")
    outbound.fetch(origin.url("/a.jpg"))

    closer = threading.Thread(target=outbound.close)
    closer.start()
    closer.join()

    origin.wait_until(lambda: origin.open_connections() == 0)


def test_a_connection_that_the_host_has_closed_meanwhile_is_no_failure(origin, outbound):
    def answer_once(_request, send):
        send(head(200, [("Content-Length", 7)]) + b"picture")
        raise HangUp

    origin.answer("/a.jpg", answer_once)

    for number in range(3):
        assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"
        origin.wait_until(lambda: origin.open_connections() == 0)
        assert origin.connections == number + 1


def test_redirects_are_followed_and_the_last_url_is_told(origin, outbound):
    origin.redirect("/old.jpg", "/older.jpg", status=301)
    origin.redirect("/older.jpg", origin.url("/a.jpg"), status=307)
    origin.serve("/a.jpg", b"picture")

    fetched = outbound.fetch(origin.url("/old.jpg"))

    assert (fetched.body, fetched.final_url) == (b"picture", origin.url("/a.jpg"))


def test_a_redirect_loop_ends(origin, outbound):
    origin.redirect("/loop.jpg", "/loop.jpg")

    error = failure(outbound, origin.url("/loop.jpg"))

    assert (error.code, str(error)) == ("too_many_redirects", "more than 10 redirects")
    assert error.permanent
    assert origin.count("/loop.jpg") == 11


@pytest.mark.parametrize(
    ("status", "message", "permanent"),
    [
        (304, "Not Modified", True),
        (400, "Bad Request", True),
        (401, "Unauthorized", True),
        (403, "Forbidden", True),
        (404, "Not Found", True),
        (408, "Request Timeout", False),
        (410, "Gone", True),
        (425, "Too Early", False),
        (429, "Too Many Requests", False),
        (500, "Internal Server Error", False),
        (503, "Service Unavailable", False),
        (520, "without a registered meaning", False),
    ],
)
def test_a_status_is_told_by_its_code_and_phrase(origin, outbound, status, message, permanent):
    origin.serve("/a.jpg", b"" if status == 304 else b"a page", status=status)

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, str(error), error.permanent) == (f"http_{status}", message, permanent)


def test_a_redirect_to_nowhere_is_a_status(origin, outbound):
    origin.serve("/a.jpg", b"x" * 80_000, status=302)

    assert failure(outbound, origin.url("/a.jpg")).code == "http_302"


def test_an_error_page_larger_than_any_image_is_still_told_by_its_status(origin, outbound):
    origin.serve("/a.jpg", b"x" * 1_000_000, status=404)
    origin.endless("/b.jpg", status=500)

    assert failure(outbound, origin.url("/a.jpg")).code == "http_404"
    assert failure(outbound, origin.url("/b.jpg")).code == "http_500"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True), 0.0),
        ("9" * 400, 86_400.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Sat, 31 Jan 99999999999 10:00:00 GMT", None),
    ],
)
def test_retry_after_is_read(origin, outbound, value, seconds):
    origin.serve("/a.jpg", status=429, headers=[("Retry-After", value)])

    assert failure(outbound, origin.url("/a.jpg")).retry_after_seconds == seconds


def test_retry_after_may_be_a_date(origin, outbound):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    origin.serve("/a.jpg", status=503, headers=[("Retry-After", date)])

    assert 80 < failure(outbound, origin.url("/a.jpg")).retry_after_seconds <= 100


def test_a_host_that_fails_for_a_while_is_back_at_the_next_try(origin, outbound):
    origin.flap("/a.jpg", b"picture", failures=2, headers=[("Retry-After", "1")])

    assert failure(outbound, origin.url("/a.jpg")).retry_after_seconds == 1
    assert failure(outbound, origin.url("/a.jpg")).code == "http_503"
    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"


@pytest.mark.parametrize(("status", "permanent"), [(200, False), (204, True)])
def test_an_empty_answer_is_not_an_image(origin, outbound, status, permanent):
    origin.serve("/a.jpg", status=status)

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, str(error)) == ("not_an_image", "the answer is empty")
    assert error.permanent is permanent


def test_a_body_at_the_limit_is_taken(origin, outbound):
    origin.serve("/a.jpg", bytes(MAX_IMAGE_BYTES))

    assert len(outbound.fetch(origin.url("/a.jpg")).body) == MAX_IMAGE_BYTES


def too_large_by_its_length(origin):
    origin.serve("/a.jpg", b"", content_length=MAX_IMAGE_BYTES + 1)


def too_large_without_end(origin):
    origin.endless("/a.jpg")


def too_large_when_unpacked(origin):
    origin.gzip_bomb("/a.jpg", 50_000_000)


def too_large_behind_a_redirect(origin):
    origin.redirect("/a.jpg", "/b.jpg")
    origin.endless("/b.jpg")


@pytest.mark.parametrize(
    "misbehave",
    [
        too_large_by_its_length,
        too_large_without_end,
        too_large_when_unpacked,
        too_large_behind_a_redirect,
    ],
)
def test_what_is_too_large_is_cut_off(origin, outbound, misbehave):
    misbehave(origin)

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, error.permanent) == ("too_large", True)
    assert str(error) == "the image is larger than 100,000 bytes"


def test_after_a_body_was_cut_off_the_next_fetch_is_whole(origin, outbound):
    origin.endless("/endless.jpg")
    origin.serve("/a.jpg", b"picture")
    failure(outbound, origin.url("/endless.jpg"))

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"


def test_a_body_that_comes_compressed_unasked_is_unpacked(origin, outbound):
    packed = gzip.compress(b"picture")
    origin.serve("/a.jpg", packed, headers=[("Content-Encoding", "gzip")])

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"


def test_a_body_that_comes_in_crumbs_is_whole(origin, outbound):
    crumbs = b"".join(b"1\r\n%c\r\n" % letter for letter in b"picture" * 1000)
    origin.raw("/a.jpg", head(200, [("Transfer-Encoding", "chunked")]) + crumbs + b"0\r\n\r\n")

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture" * 1000


def test_a_content_encoding_that_is_none_is_told(origin, outbound):
    origin.serve("/a.jpg", b"no gzip at all", headers=[("Content-Encoding", "gzip")])

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, error.permanent) == ("decode_failed", True)


def test_less_than_was_announced_is_truncated(origin, outbound):
    origin.serve("/a.jpg", b"half a pic", content_length=20)

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, error.permanent) == ("truncated", False)
    assert str(error) == "the host sent less than it announced"


def test_a_chunked_body_without_its_end_is_truncated(origin, outbound):
    chunked = head(200, [("Transfer-Encoding", "chunked")])
    origin.raw("/a.jpg", chunked + b"4\r\nhalf\r\n")

    assert failure(outbound, origin.url("/a.jpg")).code == "truncated"


def test_more_than_was_announced_is_left_out(origin, outbound):
    origin.serve("/a.jpg", b"picture and more", content_length=7)

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_host_that_drips_is_left_at_the_deadline(origin, outbound, part):
    origin.drip("/a.jpg", part=part, seconds=0.1)
    started = time.monotonic()

    error = failure(outbound, origin.url("/a.jpg"), timeout_seconds=1)

    assert (error.code, str(error), error.permanent) == ("timeout", "after 1 s", False)
    assert time.monotonic() - started < 2


def test_the_deadline_of_the_setting_holds_without_another(origin):
    origin.serve("/a.jpg", b"picture", gate=threading.Event())
    outbound = Outbound(
        guard=AddressGuard(parse_allowed_addresses(origin.address)),
        user_agent="Pressroom/test",
        fetch_timeout_seconds=0.3,
        max_image_bytes=MAX_IMAGE_BYTES,
        open_socket=LoopbackOnly(),
    )

    assert str(failure(outbound, origin.url("/a.jpg"))) == "after 0.3 s"


def test_no_time_left_is_a_timeout(origin, outbound):
    origin.serve("/a.jpg", b"picture", gate=threading.Event())

    assert failure(outbound, origin.url("/a.jpg"), timeout_seconds=0).code == "timeout"


def test_a_name_that_does_not_exist_is_told(outbound):
    # libcurl looks up no .onion (RFC 7686), so that no packet leaves for a name server
    error = failure(outbound, "http://images.onion/a.jpg")

    assert (error.code, error.permanent) == ("dns", False)
    assert str(error) == "the host's name cannot be resolved"


def test_a_port_without_a_server_is_told(origin, outbound):
    url = origin.url("/a.jpg")
    origin.close()

    error = failure(outbound, url)

    assert (error.code, error.permanent) == ("connect", False)
    assert str(error) == "the host cannot be reached"


def test_a_machine_out_of_sockets_is_no_crash(origin):
    def no_more(_address):
        raise OSError(24, "Too many open files")

    outbound = Outbound(
        guard=AddressGuard(parse_allowed_addresses(origin.address)),
        user_agent="Pressroom/test",
        fetch_timeout_seconds=5,
        max_image_bytes=MAX_IMAGE_BYTES,
        open_socket=no_more,
    )

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, error.permanent) == ("connect", False)


@pytest.mark.parametrize(
    ("sent", "reset", "message"),
    [
        (b"", False, "the host hung up without an answer"),
        (b"", True, "the connection was lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "the host's answer is not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", False, "the host's answer is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            False,
            "the host's answer is not HTTP",
        ),
    ],
)
def test_a_host_that_breaks_off_is_told(origin, outbound, capsys, sent, reset, message):
    origin.raw("/a.jpg", sent, reset=reset)

    error = failure(outbound, origin.url("/a.jpg"))

    assert (error.code, str(error), error.permanent) == ("connect", message, False)
    assert capsys.readouterr().err == ""  # pycurl prints what a callback raises


def test_a_header_that_looks_like_a_status_line_does_no_harm(origin, outbound, capsys):
    fields = b"HTTP/9.9: odd\r\nHTTP/1.1 x: odd\r\nContent-Length: 7\r\n\r\n"
    origin.raw("/a.jpg", b"HTTP/1.1 200 OK\r\n" + fields + b"picture")

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://", "http://a b/", "http://127.0.0.1/\0", "http://ü.example/", "http://127.0.0.1:99999/"],
)  # fmt: skip
def test_a_malformed_url_is_told(outbound, url):
    error = failure(outbound, url)

    assert (error.code, error.permanent) == ("forbidden_address", True)
    assert str(error) == "it is not a well-formed URL"


def test_a_ca_bundle_is_found_where_the_system_has_one():
    assert find_ca_bundle().endswith((".crt", ".pem"))


def test_the_origin_answers_other_clients_too(origin):
    origin.serve("/a.jpg", b"picture", etag='"v1"')
    connection = http.client.HTTPConnection(origin.host, origin.port)

    connection.request("GET", "/a.jpg", headers={"If-None-Match": '"v1"'})
    unchanged = connection.getresponse()
    unchanged.read()
    connection.request("HEAD", "/a.jpg?size=1")
    headed = connection.getresponse()
    headed.read()
    connection.close()

    assert (unchanged.status, headed.status, headed.length) == (304, 200, 0)
    assert origin.count("/a.jpg") == 2
