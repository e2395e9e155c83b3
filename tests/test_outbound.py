"""What a fetch brings in, over which connections; from a local origin."""

import gzip
import http.client
import threading

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.errors import ImageFailed
from app.models import Source
from app.outbound import Outbound, find_ca_bundle
from tests.origin import HangUp, LoopbackOnly, head

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


def test_a_body_at_the_limit_is_taken(origin, outbound):
    origin.serve("/a.jpg", bytes(MAX_IMAGE_BYTES))

    assert len(outbound.fetch(origin.url("/a.jpg")).body) == MAX_IMAGE_BYTES


def test_a_body_that_comes_compressed_unasked_is_unpacked(origin, outbound):
    packed = gzip.compress(b"picture")
    origin.serve("/a.jpg", packed, headers=[("Content-Encoding", "gzip")])

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"


def test_a_body_that_comes_in_crumbs_is_whole(origin, outbound):
    crumbs = b"".join(b"1\r\n%c\r\n" % letter for letter in b"picture" * 1000)
    origin.raw("/a.jpg", head(200, [("Transfer-Encoding", "chunked")]) + crumbs + b"0\r\n\r\n")

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture" * 1000


def test_more_than_was_announced_is_left_out(origin, outbound):
    origin.serve("/a.jpg", b"picture and more", content_length=7)

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"


def test_a_header_that_looks_like_a_status_line_does_no_harm(origin, outbound, capsys):
    fields = b"HTTP/9.9: odd\r\nHTTP/1.1 x: odd\r\nContent-Length: 7\r\n\r\n"
    origin.raw("/a.jpg", b"HTTP/1.1 200 OK\r\n" + fields + b"picture")

    assert outbound.fetch(origin.url("/a.jpg")).body == b"picture"
    assert capsys.readouterr().err == ""


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


def test_what_is_known_is_asked_with_and_only_for_that_image(origin, outbound):
    dated = "Sat, 31 Jan 2026 10:00:00 GMT"
    known = Source('"v1"', dated, place=b"")
    origin.serve("/a.jpg", b"picture", etag='"v1"')

    fetched = outbound.fetch(origin.url("/a.jpg"), known=known)
    again = outbound.fetch(origin.url("/a.jpg"))

    asked, plain = (request.headers for request in origin.requests)
    assert (asked["if-none-match"], asked["if-modified-since"]) == ('"v1"', dated)
    assert not {"if-none-match", "if-modified-since"} & plain.keys()
    assert (fetched.is_unchanged, fetched.body) == (True, b"")
    assert (again.is_unchanged, again.body) == (False, b"picture")


@pytest.mark.parametrize(
    ("cache_control", "may_be_kept"),
    [("max-age=60", True), ("no-cache", True), ("no-store", False), ("private, No-Store", False)],
)
def test_a_host_may_forbid_to_remember_its_image(origin, outbound, cache_control, may_be_kept):
    origin.serve("/a.jpg", b"picture", headers=[("Cache-Control", cache_control)])

    assert outbound.fetch(origin.url("/a.jpg")).may_be_kept is may_be_kept
