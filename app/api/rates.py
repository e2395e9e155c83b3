"""`RATE_LIMIT`: uploads counted by owner or, where there are no keys, by address."""

import ipaddress
import math

from flask import current_app, request

from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.owner import current_owner
from app.database import deadline
from app.errors import TooOften

_HOME_PREFIX = 64
"""Whoever has one IPv6 address has all that share its first 64 bits."""


def count_upload() -> None:
    """Before the form is read, so that what is refused costs little. Raises TooOften, Unavailable.

    Refused uploads and dry runs count: reading them is the work.
    """
    limit = lazy_services().settings.upload_rate
    if limit is None:
        return
    with deadline(DATABASE_SECONDS):
        wait_seconds = lazy_services().get().database.rates.count(_caller(), limit)
    if wait_seconds:
        raise TooOften(
            f"RATE_LIMIT allows {limit.calls} uploads in {limit.period_seconds} s: try again later",
            retry_after_seconds=math.ceil(wait_seconds),
        )


def _caller() -> str:
    if current_app.extensions["pressroom_keys"]:
        return f"owner {current_owner()}"
    return f"address {_network_of(request.remote_addr or '')}"


def _network_of(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # a proxy may name a client as it likes
        return address[:100]
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip.packed, _HOME_PREFIX), strict=False))
