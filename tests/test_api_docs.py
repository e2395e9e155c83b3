"""`GET /docs`: the API's description in a browser, which loads nothing from elsewhere."""

import re

import pytest
from pydantic import SecretStr

DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def test_all_that_the_page_loads_is_served_here(client):
    page = client.get("/docs")

    assert page.mimetype == "text/html"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 5
    for path in loaded:
        assert client.get(path).status_code == 200, path
    assert "/openapi.json" in client.get("/docs/start.js").text


def test_a_browser_may_load_nothing_from_elsewhere_for_it(client):
    policy = client.get("/docs").headers["Content-Security-Policy"]

    assert dict(part.split(" ", 1) for part in policy.split("; ")) == DIRECTIVES


@pytest.mark.parametrize("name", ["swagger-ui.js.map", "index.html", "..", "LICENSE", "\0"])
def test_other_files_of_the_package_are_not_served(client, name):
    assert client.get(f"/docs/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/openapi.json"])
def test_with_keys_it_needs_a_key_or_a_session(client_of, settings, services, path):
    keyed = settings.model_copy(update={"api_keys": SecretStr("ann:ann-1")})
    client = client_of(keyed, services)

    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": "Bearer ann-1"}).status_code == 200
    client.post("/session", data={"key": "ann-1"})
    assert client.get(path).status_code == 200
