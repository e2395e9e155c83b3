"""Which addresses may be dialled, and what ALLOWED_ADDRESSES may hold."""

from ipaddress import ip_network

import pytest

from app.addresses import BAD_PORTS, AddressGuard, AllowedAddress, parse_allowed_addresses

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "169.253.255.255",
    "192.0.1.1",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001:800::200e",
    "2400:cb00::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2a00:1450::5efe:8.8.8.8",
]

NOT_PUBLIC = [
    ("0.0.0.0", "this very machine"),
    ("0.1.2.3", "this very machine"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.1", "provider"),
    ("100.100.100.200", "provider"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("168.63.129.16", "metadata"),
    ("169.254.169.254", "link-local"),
    ("169.254.170.2", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.192", "reserved"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "reserved"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "this very machine"),
    ("::1", "loopback"),
    ("::127.0.0.1", "carries"),
    ("::8.8.8.8", "carries"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:0:127.0.0.1", "carries"),
    ("::ffff:0:8.8.8.8", "carries"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "link-local"),
    ("64:ff9b::168.63.129.16", "metadata"),
    ("64:ff9b:1::7f00:1", "carries"),
    ("64:ff9b:1:7f00:0:100::", "carries"),
    ("100::1", "global unicast"),
    ("2001:0:7f00:1::", "carries"),
    ("2001::f5ff:fffe", "carries"),  # Teredo, 10.0.0.1 with its bits turned
    ("2001:10::1", "reserved"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "carries"),
    ("2002:a9fe:a9fe::1", "carries"),
    ("3fff::1", "documentation"),
    ("2a00:1450::5efe:127.0.0.1", "loopback"),
    ("2a00:1450::200:5efe:10.0.0.1", "private"),
    ("2a00:1450::300:5efe:a9fe:a9fe", "link-local"),
    ("4000::1", "global unicast"),
    ("5f00::1", "global unicast"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "private"),
    ("fd20:ce::254", "private"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fe80::5efe:8.8.8.8", "link-local"),
    ("fec0::1", "site-local"),
    ("feff:ffff::1", "site-local"),
    ("ff02::1", "multicast"),
    ("localhost", "not an IP address"),
    ("127.1", "not an IP address"),
    ("", "not an IP address"),
]


def guard(text=""):
    return AddressGuard(parse_allowed_addresses(text))


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_may_be_dialled(ip):
    assert guard().reason_against(ip, 443) is None


@pytest.mark.parametrize(("ip", "reason"), NOT_PUBLIC)
def test_what_is_not_public_is_refused_with_the_reason(ip, reason):
    assert reason in guard().reason_against(ip, 80)


@pytest.mark.parametrize(
    ("ip", "line"),
    [
        ("127.0.0.1", "ALLOWED_ADDRESSES=127.0.0.1:9000"),
        ("::1", "ALLOWED_ADDRESSES=[::1]:9000"),
        ("::ffff:10.0.0.1", "ALLOWED_ADDRESSES=10.0.0.1:9000"),
        ("64:ff9b::7f00:1", "ALLOWED_ADDRESSES=[64:ff9b::7f00:1]:9000"),
        ("fe80::1%eth0", "ALLOWED_ADDRESSES=[fe80::1]:9000"),
    ],
)
def test_a_refusal_gives_the_line_that_would_allow_it_and_that_line_does(ip, line):
    reason = guard().reason_against(ip, 9000)

    assert reason.endswith(line)
    assert guard(line.partition("=")[2]).reason_against(ip, 9000) is None


@pytest.mark.parametrize("port", [22, 25, 6000, 10080])
def test_a_port_of_another_protocol_is_refused_on_a_public_address(port):
    assert f"ALLOWED_ADDRESSES=8.8.8.8:{port}" in guard().reason_against("8.8.8.8", port)


def test_a_port_of_another_protocol_is_allowed_only_by_its_number():
    assert guard("10.0.0.0/8").reason_against("10.0.0.1", 25)
    assert guard("10.0.0.0/8:25").reason_against("10.0.0.1", 25) is None


def test_port_0_is_refused_without_advice():
    assert "ALLOWED_ADDRESSES" not in guard("127.0.0.1").reason_against("127.0.0.1", 0)


@pytest.mark.parametrize("port", [80, 443, 3000, 8000, 8080, 8443, 9000])
def test_the_ports_that_web_servers_use_are_no_bad_ports(port):
    assert port not in BAD_PORTS


def test_an_allowed_port_allows_no_other():
    allowing = guard("127.0.0.1:9000")

    assert allowing.reason_against("127.0.0.1", 9000) is None
    assert allowing.reason_against("127.0.0.1", 9001)
    assert allowing.reason_against("127.0.0.2", 9000)


def test_an_allowed_network_allows_its_addresses_on_every_port():
    allowing = guard("10.0.0.0/8, fd00::/8")

    assert allowing.reason_against("10.9.8.7", 80) is None
    assert allowing.reason_against("::ffff:10.9.8.7", 8080) is None
    assert allowing.reason_against("fd12::1", 443) is None
    assert allowing.reason_against("fe80::1", 443)


def test_allowing_an_ipv4_network_does_not_allow_what_carries_it():
    allowing = guard("127.0.0.0/8")

    assert allowing.reason_against("64:ff9b::7f00:1", 80)
    assert allowing.reason_against("::127.0.0.1", 80)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", []),
        (" , ", []),
        ("127.0.0.1", [("127.0.0.1/32", None)]),
        ("127.0.0.1:9000", [("127.0.0.1/32", 9000)]),
        ("10.0.0.0/8", [("10.0.0.0/8", None)]),
        ("10.0.0.0/8:80", [("10.0.0.0/8", 80)]),
        ("::1", [("::1/128", None)]),
        ("[::1]", [("::1/128", None)]),
        ("[::1]:9000", [("::1/128", 9000)]),
        ("fd00::/8", [("fd00::/8", None)]),
        ("[fd00::/8]:80", [("fd00::/8", 80)]),
        ("::ffff:10.0.0.0/104", [("10.0.0.0/8", None)]),
        ("127.0.0.1:9000,10.0.0.0/8\n ::1", [
            ("127.0.0.1/32", 9000), ("10.0.0.0/8", None), ("::1/128", None),
        ]),
    ],
)  # fmt: skip
def test_allowed_addresses_are_read(text, allowed):
    expected = tuple(AllowedAddress(ip_network(network), port) for network, port in allowed)

    assert parse_allowed_addresses(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("localhost:9000", "'localhost:9000' is not an address"),
        ("http://127.0.0.1", "is not an address: write it as 127.0.0.1:9000"),
        ("127.0.0.1, nonsense", "'nonsense' is not an address"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("10.0.0.0/33", "is not an address"),
        ("127.0.0.1:", "ports go from 1 to 65535"),
        ("127.0.0.1:0", "ports go from 1 to 65535"),
        ("127.0.0.1:65536", "ports go from 1 to 65535"),
        ("127.0.0.1:²", "ports go from 1 to 65535"),
        ("127.0.0.1:" + "9" * 9999, "ports go from 1 to 65535"),
        ("127.0.0.1:http", "ports go from 1 to 65535"),
        ("fd00::/8:80", "or [fd00::/8]:80"),
        ("[::1", "is not an address"),
        ("[]:80", "is not an address"),
        ("fe80::1%eth0", "is not an address"),
    ],
)
def test_a_bad_entry_is_named_with_how_to_write_it(text, complaint):
    with pytest.raises(ValueError, match=r"^'") as raised:
        parse_allowed_addresses(text)

    assert complaint in str(raised.value)
