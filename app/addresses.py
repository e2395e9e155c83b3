"""An IP address and a port → may it be dialled? Called by `outbound` at every dial, by `config`.

The ranges are written out, from IANA's special-purpose address registries: Python's `is_global`
says yes to NAT64, `::127.0.0.1` and `fec0::`.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

BAD_PORTS = frozenset(
    (
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95),
        *(101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161),
        *(179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563),
        *(587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061),
        *(6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    )
)
"""Ports of protocols that an HTTP request could be smuggled into (Fetch standard, "bad port")."""

_NOT_PUBLIC: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "is an address of this very machine"),
        ("10.0.0.0/8", "is a private address"),
        ("100.64.0.0/10", "is an address inside a provider's network"),  # and Alibaba's metadata
        ("127.0.0.0/8", "is a loopback address"),
        ("168.63.129.16/32", "is a cloud's metadata service"),  # Azure; public by its range
        ("169.254.0.0/16", "is a link-local address"),  # where most clouds' metadata is
        ("172.16.0.0/12", "is a private address"),
        ("192.0.0.0/24", "is a reserved address"),  # and Oracle's metadata
        ("192.0.2.0/24", "is a documentation address"),
        ("192.88.99.0/24", "is a reserved address"),  # 6to4 relays
        ("192.168.0.0/16", "is a private address"),
        ("198.18.0.0/15", "is a benchmarking address"),
        ("198.51.100.0/24", "is a documentation address"),
        ("203.0.113.0/24", "is a documentation address"),
        ("224.0.0.0/4", "is a multicast address"),
        ("240.0.0.0/4", "is a reserved address"),  # and 255.255.255.255, broadcast
        ("::/128", "is an address of this very machine"),
        ("::1/128", "is a loopback address"),
        ("::/96", "carries an IPv4 address"),  # IPv4-compatible
        ("::ffff:0:0:0/96", "carries an IPv4 address"),  # translated (SIIT)
        ("64:ff9b:1::/48", "carries an IPv4 address"),  # NAT64 inside a provider's network
        ("2001::/32", "carries an IPv4 address"),  # Teredo, in the obfuscated form too
        ("2001::/23", "is a reserved address"),
        ("2001:db8::/32", "is a documentation address"),
        ("2002::/16", "carries an IPv4 address"),  # 6to4
        ("3fff::/20", "is a documentation address"),
        (
            "fc00::/7",
            "is a private address",
        ),  # and the metadata services fd00:ec2::254, fd20:ce::254
        ("fe80::/10", "is a link-local address"),
        ("fec0::/10", "is a site-local address"),
        ("ff00::/8", "is a multicast address"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = 0x5EFE
_ISATAP_FLAGS = 0x0300_0000  # the bits u and g of the interface identifier, either way


@dataclass(frozen=True, slots=True)
class AllowedAddress:
    """A network that may be called though not public; on every port but the bad ones when None."""

    network: Network
    port: int | None = None

    def covers(self, address: Address, port: int) -> bool:
        is_port_meant = port not in BAD_PORTS if self.port is None else port == self.port
        return is_port_meant and address in self.network


class AddressGuard:
    """Says which addresses may be dialled. Holds no state: threads may share one."""

    def __init__(self, allowed: Iterable[AllowedAddress] = ()):
        self._allowed = tuple(allowed)

    def reason_against(self, ip: str, port: int) -> str | None:
        """None when it may be dialled, else why not, with the very setting that would allow it.

        `ip` is an address as `inet_ntop` writes it, never a name.
        """
        try:
            address = _unmapped(ipaddress.ip_address(ip.partition("%")[0]))
        except ValueError:
            return f"{ip!r} is not an IP address"
        if port == 0:
            return f"{address} has no port 0, as nobody has"
        if any(allowed.covers(address, port) for allowed in self._allowed):
            return None
        reason = _reason_against_range(address)
        if reason is None and port in BAD_PORTS:
            reason = f"is asked for on port {port}, which belongs to another protocol"
        if reason is None:
            return None
        return f"{address} {reason}, to call it anyway set {_setting(address, port)}"


def parse_allowed_addresses(text: str) -> tuple[AllowedAddress, ...]:
    """Read `127.0.0.1:9000, 10.0.0.0/8, [fd00::/8]:80`; an address alone stands for itself.

    Raises ValueError naming the entry, and how to write it.
    """
    return tuple(_parse_entry(entry) for entry in re.split(r"[,\s]+", text) if entry)


def _parse_entry(entry: str) -> AllowedAddress:
    network, port = _split_port(entry)
    try:
        interface = ipaddress.ip_interface(network)
    except ValueError:
        interface = None
    if interface is None or "%" in network:
        raise ValueError(
            f"{entry!r} is not an address: write it as 127.0.0.1:9000, 10.0.0.0/8 or [fd00::/8]:80"
        )
    if port is not None and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{entry!r} has a bad port: ports go from 1 to 65535")
    if interface.ip != interface.network.network_address:
        raise ValueError(f"{entry!r} is not where its network begins: write {interface.network}")
    return AllowedAddress(_unmapped_network(interface.network), int(port) if port else None)


def _split_port(entry: str) -> tuple[str, str | None]:
    bracketed = re.fullmatch(r"\[(.*)\](?::(.*))?", entry)
    if bracketed:
        return bracketed[1], bracketed[2]
    if entry.count(":") == 1:
        network, _, port = entry.partition(":")
        return network, port
    return entry, None


def _unmapped(address: Address) -> Address:
    """`::ffff:127.0.0.1` is dialled by the kernel as 127.0.0.1, so it is judged as that."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _unmapped_network(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network


def _reason_against_range(address: Address) -> str | None:
    for network, reason in _NOT_PUBLIC:
        if address in network:
            return reason
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:  # how a network without IPv4 reaches all of IPv4
        return _reason_against_carried(address)
    if address not in _GLOBAL_UNICAST:
        return "is not a global unicast address"
    if (int(address) >> 32) & 0xFFFF_FFFF & ~_ISATAP_FLAGS == _ISATAP:
        return _reason_against_carried(address)
    return None


def _reason_against_carried(address: IPv6Address) -> str | None:
    carried = IPv4Address(int(address) & 0xFFFF_FFFF)
    reason = _reason_against_range(carried)
    return reason and f"carries {carried}, which {reason}"


def _setting(address: Address, port: int) -> str:
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return f"ALLOWED_ADDRESSES={host}:{port}"
