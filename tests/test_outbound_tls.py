"""Certificates: the good one is taken, and what is wrong with the others is told apart."""

import pytest

from app.addresses import AddressGuard, parse_allowed_addresses
from app.errors import ImageFailed
from app.outbound import Outbound
from tests.certificates import make_certificates
from tests.origin import LoopbackOnly, Origin


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def make_outbound(ca_bundle=None):
    return Outbound(
        guard=AddressGuard(parse_allowed_addresses("127.0.0.1, ::1")),
        user_agent="Pressroom/test",
        fetch_timeout_seconds=5,
        max_image_bytes=100_000,
        ca_bundle=ca_bundle and str(ca_bundle),
        open_socket=LoopbackOnly(),
    )


@pytest.fixture
def outbound(certificates):
    return make_outbound(certificates.authority)


def failure(outbound, url):
    with pytest.raises(ImageFailed) as raised:
        outbound.fetch(url)
    return raised.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_good_certificate_is_taken(certificates, outbound, host):
    with Origin(certificate=certificates.valid) as origin:
        origin.serve("/a.jpg", b"picture")

        assert outbound.fetch(origin.url("/a.jpg", host=host)).body == b"picture"
        assert outbound.fetch(origin.url("/a.jpg", host=host)).body == b"picture"
        assert origin.connections == 1


def test_a_redirect_from_http_to_https_is_followed(certificates, outbound):
    with Origin() as plain, Origin(certificate=certificates.valid) as secure:
        secure.serve("/a.jpg", b"picture")
        plain.redirect("/a.jpg", secure.url("/a.jpg"))

        fetched = outbound.fetch(plain.url("/a.jpg"))

        assert (fetched.body, fetched.final_url) == (b"picture", secure.url("/a.jpg"))


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("expired", "tls_expired", "the certificate has expired"),
        ("self_signed", "tls_untrusted", "the certificate is self-signed"),
        ("wrong_host", "tls_host", "the certificate is for another host"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(certificates, outbound, kind, code, message):
    with Origin(certificate=getattr(certificates, kind)) as origin:
        origin.serve("/a.jpg", b"picture")

        error = failure(outbound, origin.url("/a.jpg"))

        assert (error.code, str(error), error.permanent) == (code, message, True)
        assert origin.requests == []


def test_a_certificate_is_for_another_host_by_name_too(certificates, outbound):
    with Origin(certificate=certificates.wrong_host) as origin:
        assert failure(outbound, origin.url(host="localhost")).code == "tls_host"


def test_the_verdict_on_one_certificate_is_not_taken_for_the_next(certificates, outbound):
    kinds = ("expired", "wrong_host", "self_signed", "wrong_host", "expired")
    codes = []
    for kind in kinds:
        with Origin(certificate=getattr(certificates, kind)) as origin:
            codes.append(failure(outbound, origin.url("/a.jpg")).code)

    assert codes == ["tls_expired", "tls_host", "tls_untrusted", "tls_host", "tls_expired"]


def test_an_authority_that_the_system_does_not_know_is_untrusted(certificates):
    with Origin(certificate=certificates.valid) as origin:
        error = failure(make_outbound(), origin.url("/a.jpg"))

        assert (error.code, error.permanent) == ("tls_untrusted", True)
        assert str(error) == "the certificate is signed by nobody trusted here"


def test_a_missing_ca_bundle_is_our_fault_and_may_heal(certificates, tmp_path):
    with Origin(certificate=certificates.valid) as origin:
        error = failure(make_outbound(tmp_path / "nowhere.pem"), origin.url("/a.jpg"))

        assert (error.code, error.permanent) == ("tls_untrusted", False)
        assert "CA_BUNDLE" in str(error)
        assert str(tmp_path) not in str(error)


def test_a_server_that_speaks_no_tls_is_told(outbound):
    with Origin() as origin:
        error = failure(outbound, origin.url("/a.jpg").replace("http:", "https:"))

        assert (error.code, str(error)) == ("connect", "the TLS handshake failed")
        assert not error.permanent
