"""Every way in which a fetch fails, with its code and message; against a misbehaving origin."""

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.errors import ImageFailed
from app.outbound import Outbound
from tests.origin import LoopbackOnly, head

MAX_IMAGE_BYTES = 100_000


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
        (format_datetime(datetime(2026, 1, 31, tzinfo=UTC), usegmt=True), 0.0),
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


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://", "http://a b/", "http://127.0.0.1/\0", "http://ü.example/", "http://127.0.0.1:99999/"],
)  # fmt: skip
def test_a_malformed_url_is_told(outbound, url):
    error = failure(outbound, url)

    assert (error.code, error.permanent) == ("forbidden_address", True)
    assert str(error) == "it is not a well-formed URL"
