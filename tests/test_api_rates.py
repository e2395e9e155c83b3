"""`RATE_LIMIT`: so many uploads, in all processes together, and no more."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import SecretStr
from pymongo.errors import AutoReconnect

from app.models import RateLimit

ANN = {"Authorization": "Bearer ann-1"}
BOB = {"Authorization": "Bearer bob-1"}


@pytest.fixture
def limited(client_of, settings, services):
    """A function that makes a client of a service with a limit of two a minute."""

    def make(**changes):
        return client_of(settings.model_copy(update={"rate_limit": "2/minute"} | changes), services)

    return make


def upload(client, headers=None, **kwargs):
    return client.post("/upload", headers=headers, **kwargs)


def from_address(address):
    return {"environ_overrides": {"REMOTE_ADDR": address}}


def test_one_upload_too_many_is_told_when_to_come_again(limited):
    client = limited()
    assert [upload(client).status_code for _ in range(2)] == [400, 400]

    reply = upload(client)

    assert reply.status_code == 429
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert reply.json == {"error": "RATE_LIMIT allows 2 uploads in 60 s: try again later"}


def test_nothing_but_uploads_is_counted(limited):
    client = limited()

    for _ in range(4):
        assert client.get("/webhook").status_code == 200
    assert upload(client).status_code == 400


def test_without_a_limit_nothing_is_counted(client, database):
    assert {upload(client).status_code for _ in range(5)} == {400}
    assert database.client[database.name]["rates"].count_documents({}) == 0


def test_two_services_on_one_database_count_together(limited):
    one, other = limited(), limited()

    assert [upload(each).status_code for each in (one, other, one, other)] == [400, 400, 429, 429]


def test_owners_are_counted_apart_wherever_they_call_from(limited):
    client = limited(api_keys=SecretStr("ann:ann-1,bob:bob-1"))

    def statuses(headers):
        return [
            upload(client, headers, **from_address(f"192.0.2.{n}")).status_code for n in range(3)
        ]

    assert statuses(ANN) == [400, 400, 429]
    assert statuses(BOB) == [400, 400, 429]
    assert upload(client).status_code == 401


def test_addresses_are_counted_apart_an_ipv6_network_as_one(limited):
    client = limited()

    def statuses(*addresses):
        return [upload(client, **from_address(each)).status_code for each in addresses]

    assert statuses("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1") == [400, 400, 429]
    assert statuses("2001:db8::1", "2001:db8::2", "2001:db8:0:0:1::3") == [400, 400, 429]
    assert statuses("2001:db8:0:1::1", "192.0.2.2") == [400, 400]


def test_a_header_that_no_proxy_vouches_for_makes_no_new_caller(limited):
    client = limited()
    replies = [upload(client, {"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(3)]

    assert [reply.status_code for reply in replies] == [400, 400, 429]


def test_behind_a_proxy_the_address_that_the_proxy_saw_is_counted(limited):
    client = limited(trusted_proxies=1)

    def statuses(*forwarded):
        return [upload(client, {"X-Forwarded-For": each}).status_code for each in forwarded]

    assert statuses("192.0.2.1", "192.0.2.1", "10.9.9.9, 192.0.2.1") == [400, 400, 429]
    assert statuses("192.0.2.2") == [400]


class Away:
    """Plays a collection whose server is gone."""

    def find_one_and_update(self, *args, **kwargs):
        raise AutoReconnect("connection closed")


def test_a_database_that_is_away_is_503_and_not_a_free_pass(limited, services, monkeypatch):
    monkeypatch.setattr(services.database.rates, "_rates", Away())

    reply = upload(limited())

    assert reply.status_code == 503
    assert reply.headers["Retry-After"]


# The counter


def test_of_many_first_calls_at_once_each_is_counted(database):
    limit = RateLimit(calls=10, period_seconds=60)

    with ThreadPoolExecutor(20) as pool:
        waits = list(pool.map(lambda _: database.rates.count("owner ann", limit), range(40)))

    assert sum(wait == 0 for wait in waits) == 10
    assert all(0 <= wait <= 60 for wait in waits)


def test_a_period_that_is_over_begins_anew(database):
    limit = RateLimit(calls=1, period_seconds=60)
    assert database.rates.count("ann", limit) == 0
    assert database.rates.count("ann", limit) > 0

    rates = database.client[database.name]["rates"]
    ends_at = rates.find_one({"_id": "ann"})["ends_at"]
    rates.update_one({"_id": "ann"}, {"$set": {"ends_at": ends_at - timedelta(seconds=60)}})

    assert database.rates.count("ann", limit) == 0
    assert database.rates.count("ann", limit) > 0


def test_counters_are_forgotten_by_the_server_itself(database):
    index = database.client[database.name]["rates"].index_information()["ends_at_1"]

    assert index["expireAfterSeconds"] == 0
