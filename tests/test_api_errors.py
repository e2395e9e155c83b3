"""Every reply is JSON of ours, whatever goes wrong, and tells nothing that is not the caller's."""

import uuid

import pytest

from app.errors import Conflict, LostClaim

NOWHERE = [
    "/page",
    "/nowhere",
    "/upload/",
    "/status",
    "/status/",
    "/processed/x",
    "/../etc",
]


def assert_is_our_error(reply, status):
    assert reply.status_code == status
    assert reply.content_type == "application/json"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert list(reply.json) == ["error"]
    assert reply.json["error"]


@pytest.fixture
def failing(client, services, monkeypatch):
    """A function that makes `POST /cancel` raise, and calls it."""

    def ask(error):
        def fail(request_id):
            raise error

        monkeypatch.setattr(services.database.batches, "find", fail)
        return client.post(f"/cancel/{uuid.uuid4()}")

    return ask


def test_every_route_names_a_parameter_that_it_does_not_know(client):
    for rule in client.application.url_map.iter_rules():
        path = rule.rule.replace("<request_id>", str(uuid.uuid4())).replace("<name>", "a.jpg")
        for method in rule.methods & {"GET", "POST"}:
            reply = client.open(path, method=method, query_string={"colour": "red"})

            assert_is_our_error(reply, 400)
            assert "'colour'" in reply.json["error"], path


@pytest.mark.parametrize("path", NOWHERE)
def test_a_path_that_leads_nowhere_is_404(client, path):
    assert_is_our_error(client.get(path), 404)


def test_a_method_that_is_not_possible_is_405_and_allow_says_which_are(client):
    reply = client.put("/webhook")

    assert_is_our_error(reply, 405)
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_options_tells_the_methods_and_nothing_else(client):
    reply = client.options("/upload")

    assert (reply.status_code, reply.data) == (200, b"")
    assert set(reply.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    assert "Content-Type" not in reply.headers


@pytest.mark.parametrize(
    "error", [RuntimeError("/srv/secret/place"), LostClaim("token 7"), MemoryError()]
)
def test_what_nobody_expected_is_500_without_a_word_of_it(failing, error):
    reply = failing(error)

    assert_is_our_error(reply, 500)
    assert "secret" not in reply.text
    assert "token" not in reply.text
    assert "Traceback" not in reply.text


def test_what_does_not_fit_the_state_of_a_request_is_409(failing):
    reply = failing(Conflict("the request has ended"))

    assert_is_our_error(reply, 409)
    assert reply.json == {"error": "the request has ended"}


def test_text_is_sent_as_it_is(failing):
    assert "±5 é" in failing(Conflict("±5 é")).text
