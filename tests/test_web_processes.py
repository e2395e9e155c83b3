"""Several web processes on one database: any of them answers any request, and none has a state."""

import io

import pytest
from pydantic import SecretStr


@pytest.fixture
def two_of(settings, build_services, client_of):
    """A function that makes two clients, each of an app with services of its own."""

    def make(**values):
        shared = settings.model_copy(update=values)
        return [client_of(shared, build_services(shared)) for _ in range(2)]

    return make


def upload(client, **headers):
    file = (io.BytesIO(b"Images\nhttp://127.0.0.1:8000/samples/cat-240.jpg\n"), "catalog.csv")
    return client.post("/upload", data={"file": file}, headers=headers)


def test_an_idempotency_key_given_to_one_is_known_to_the_other(two_of):
    first, second = two_of()

    replies = [upload(client, **{"Idempotency-Key": "nightly"}) for client in (first, second)]

    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json["request_id"] == replies[1].json["request_id"]


def test_uploads_to_all_of_them_count_towards_one_rate(two_of):
    first, second = two_of(rate_limit="2/hour")

    statuses = [upload(client).status_code for client in (first, second, first, second)]

    assert statuses == [202, 202, 429, 429]


def test_a_session_begun_with_one_is_good_for_the_other(two_of):
    first, second = two_of(api_keys=SecretStr("shop:0123456789abcdef"))
    assert second.get("/requests").status_code == 401

    reply = first.post("/session", headers={"Authorization": "Bearer 0123456789abcdef"})
    name, _, value = reply.headers["Set-Cookie"].partition(";")[0].partition("=")
    second.set_cookie(name, value)

    assert second.get("/requests").status_code == 200


def test_what_one_took_another_reads_and_cancels(two_of):
    first, second = two_of()
    request_id = upload(first).json["request_id"]

    assert second.post(f"/cancel/{request_id}").status_code == 202
    assert first.get(f"/status/{request_id}").status_code == 200
