"""What pages of other sites may do through a visitor's browser, and what every reply forbids."""

import pytest
from pydantic import SecretStr
from werkzeug.test import create_environ, run_wsgi_app

from app.api.guards import POLICY

SHOP = "https://shop.example.com"
OWN = "http://127.0.0.1:8000"
WEBHOOK = {"request_id": "r", "status": "completed"}


@pytest.fixture
def client_with(client_of, settings, services):
    """A function that makes a client of a service with other settings."""

    def make(**changes):
        return client_of(settings.model_copy(update=changes), services)

    return make


def changing_routes(app):
    for rule in app.url_map.iter_rules():
        for method in rule.methods & {"POST", "DELETE"}:
            if (method, rule.rule) != ("POST", "/webhook"):
                yield method, rule.rule


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": SHOP},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9000"},
        {"Sec-Fetch-Site": "cross-site", "Origin": OWN},
        {"Sec-Fetch-Site": "nonsense"},
    ],
)
def test_a_foreign_page_can_change_nothing(client, headers):
    for method, path in changing_routes(client.application):
        reply = client.open(path, method=method, headers=headers)

        assert reply.status_code == 403, (method, path)
        assert "CORS_ORIGINS" in reply.json["error"]
        assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": OWN},
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    ],
)
def test_programs_and_our_own_page_can(client, headers):
    assert client.post("/upload", headers=headers).status_code == 400  # it has no file


def test_a_foreign_page_is_refused_whoever_its_visitor_is(client_with):
    client = client_with(api_keys=SecretStr("ann:ann-1"))
    headers = {"Authorization": "Bearer ann-1", "Origin": SHOP}

    assert client.post("/upload", headers=headers).status_code == 403


def test_anybody_s_page_may_post_a_webhook_and_read(client):
    headers = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}

    assert client.post("/webhook", json=WEBHOOK, headers=headers).status_code == 200
    assert client.get("/healthz", headers=headers).status_code == 200


# Listed origins


@pytest.fixture
def listing(client_with):
    """A client of a service that lists the shop."""
    return client_with(cors_origins=f"https://other.example.com, {SHOP}")


def test_a_listed_page_may_call_and_read_the_reply(listing):
    headers = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}
    reply = listing.post("/upload", headers=headers)

    assert reply.status_code == 400
    assert reply.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Location" in reply.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in reply.headers


def test_a_preflight_tells_a_listed_page_what_it_may_send(client_with):
    client = client_with(cors_origins=SHOP, api_keys=SecretStr("ann:ann-1"))
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}

    reply = client.options("/upload", headers=asked)

    assert (reply.status_code, reply.data) == (200, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == SHOP
    assert "POST" in reply.headers["Access-Control-Allow-Methods"].split(", ")
    assert "Authorization" in reply.headers["Access-Control-Allow-Headers"].split(", ")


@pytest.mark.parametrize("origin", ["https://evil.example.com", f"{SHOP}.evil.com", "null", None])
def test_who_is_not_listed_is_told_nothing(listing, origin):
    asked = {"Access-Control-Request-Method": "POST"} | ({"Origin": origin} if origin else {})

    for reply in (listing.options("/upload", headers=asked), listing.get("/webhook")):
        assert not [name for name, _ in reply.headers if name.startswith("Access-Control")]
        assert reply.headers["Vary"] == "Origin"


# DNS rebinding


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:8000", "10.0.0.1", "[", ""])
def test_a_service_for_its_own_machine_is_not_called_by_a_foreign_name(client, host):
    for method, path in (("GET", "/healthz"), ("GET", "/webhook"), ("POST", "/webhook")):
        reply = client.open(path, method=method, headers={"Host": host})

        assert reply.status_code == 403
        assert "BASE_URL" in reply.json["error"]


def test_no_header_of_a_rebound_page_helps_it(client_with):
    client = client_with(trusted_proxies=1)
    headers = {"Host": "evil.example.com", "X-Forwarded-Host": "localhost"}

    assert client.get("/webhook", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1:8000", "[::1]:8000", "images.example.com"]
)
def test_it_is_called_by_its_own_names(client_with, host):
    client = client_with(base_url="https://images.example.com/pressroom")

    assert client.get("/webhook", headers={"Host": host}).status_code == 200


def test_a_program_that_gives_no_name_is_let_in(client):
    environ = create_environ("/healthz")
    del environ["HTTP_HOST"]

    _, status, _ = run_wsgi_app(client.application, environ, buffered=True)

    assert status == "200 OK"


@pytest.mark.parametrize(
    "changes",
    [
        {"api_keys": SecretStr("ann:ann-1")},
        {"host": "0.0.0.0", "allow_open": True, "base_url": "http://images.example.com"},
    ],
)
def test_who_is_open_to_others_or_asks_for_keys_has_any_name(client_with, changes):
    headers = {"Host": "images.example.com", "Authorization": "Bearer ann-1"}

    assert client_with(**changes).get("/webhook", headers=headers).status_code == 200


def test_what_is_published_to_its_own_machine_only_answers_to_no_foreign_name(client_with):
    """As in a container whose port is bound to 127.0.0.1."""
    client = client_with(host="0.0.0.0", allow_open=True, base_url="http://127.0.0.1:8000")

    assert client.get("/webhook", headers={"Host": "evil.example"}).status_code == 403


# What every reply says


def test_no_other_reply_can_be_taken_for_a_page_or_kept_by_others(client):
    rules = [r for r in client.application.url_map.iter_rules() if r.endpoint != "page.show_page"]
    for rule in rules:
        for method in rule.methods:
            path = rule.rule.replace("<request_id>", "x").replace("<name>", "cat-240.jpg")
            headers = client.open(path, method=method).headers

            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cache-Control"]
            if path != "/docs":  # is a page: tests/test_api_docs.py
                assert headers["Content-Security-Policy"] == POLICY
                assert not headers.get("Content-Type", "").startswith("text/html"), (method, path)


def test_a_view_may_have_a_policy_of_its_own(client_of, settings, services):
    client = client_of(settings, services)

    @client.application.get("/page")
    def page():
        return "", {"Content-Security-Policy": "default-src 'self'"}

    assert client.get("/page").headers["Content-Security-Policy"] == "default-src 'self'"
