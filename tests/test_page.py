"""The page as the server gives it: its headers, its assets, and what they may lead to."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

WEB = Path(__file__).parents[1] / "app" / "web"
ASSETS = sorted(path.relative_to(WEB / "static") for path in (WEB / "static").rglob("*.*"))
OWN_TEXTS = sorted([*WEB.glob("templates/*.html"), *WEB.glob("static/*.*")])
NEVER_LOADED = (
    "http://www.w3.org/",
    "https://invalid.invalid",
    "https://shop.example.com/",
    "https://…",
)


@pytest.fixture
def bare(client_of, settings):
    """A client of an app whose services need not be there."""
    return client_of(settings)


def directives(reply):
    parts = reply.headers["Content-Security-Policy"].split("; ")
    return {name: set(sources) for name, *sources in (part.split() for part in parts)}


def test_the_page_is_html_that_runs_nothing_but_its_own_files(bare):
    reply = bare.get("/")

    assert (reply.status_code, reply.mimetype) == (200, "text/html")
    policy = directives(reply)
    own = {"'self'"}
    assert policy["default-src"] == {"'none'"}
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == own
    assert policy["form-action"] == policy["font-src"] == own
    assert policy["img-src"] == {"'self'", "http:", "https:"}
    assert policy["base-uri"] == policy["frame-ancestors"] == {"'none'"}


def test_nothing_on_the_page_needs_an_exception_from_its_policy(bare):
    html = bare.get("/").text

    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)


def test_what_the_page_names_is_there(bare):
    html = bare.get("/").text
    named = re.findall(r'(?:href|src)="(static/[^"]+)"', html)

    assert len(named) >= 5
    for name in named:
        assert bare.get(f"/{name}").status_code == 200, name


def test_the_page_leads_to_the_description_of_the_api(bare):
    assert '<a href="docs">' in bare.get("/").text
    assert bare.get("/docs").status_code == 200


@pytest.mark.parametrize("name", ASSETS, ids=str)
def test_an_asset_is_served_as_what_it_is_and_asked_for_anew(bare, name):
    reply = bare.get(f"/static/{name}")

    assert reply.status_code == 200
    assert reply.headers["Cache-Control"] == "no-cache"
    again = bare.get(f"/static/{name}", headers={"If-None-Match": reply.headers["ETag"]})
    assert again.status_code == 304
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert reply.mimetype == types.get(name.suffix, reply.mimetype)


@pytest.mark.parametrize("name", ["no.css", "../templates/page.html", "%2e%2e/templates/page.html"])
def test_only_assets_are_served_as_such(bare, name):
    reply = bare.get(f"/static/{name}")

    assert reply.status_code == 404
    assert reply.json["error"]


@pytest.mark.parametrize("path", OWN_TEXTS, ids=lambda path: path.name)
def test_no_asset_of_ours_leads_outside(path):
    for url in re.findall(r"https?://[^\s\"'`<>)]*", path.read_text()):
        assert url.startswith(NEVER_LOADED), url


@pytest.mark.parametrize("path", sorted(WEB.glob("static/*.js")), ids=lambda path: path.name)
def test_no_script_makes_html_of_text(path):
    text = path.read_text()

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_what_is_vendored_has_its_licence_beside_it():
    for folder in (WEB / "static" / "vendor").iterdir():
        assert (folder / "LICENSE").is_file(), folder.name


def test_an_address_of_a_view_is_the_same_page_and_an_unknown_parameter_is_named(bare):
    assert bare.get("/?request=x").data == bare.get("/?requests=all").data
    reply = bare.get("/?reqest=x")

    assert reply.status_code == 400
    assert "reqest" in reply.json["error"]


def test_the_page_begins_with_the_service_s_own_defaults(client_of, settings):
    changed = settings.model_copy(update={"image_quality": 71, "output_format": "webp"})

    html = client_of(changed).get("/").text

    assert 'max="95" value="71"' in html
    assert '<option value="webp" selected>' in html
    assert html.count(" selected>") == 1


def test_a_base_url_is_shown_as_text(client_of, settings):
    changed = settings.model_copy(update={"base_url": 'http://h/"><script>alert(1)</script>'})

    assert "<script>" not in client_of(changed).get("/").text


def test_the_page_says_whether_a_key_is_needed_and_was_given(client_of, settings):
    keyed = settings.model_copy(update={"api_keys": SecretStr("ann:ann-1")})
    client = client_of(keyed)

    assert 'data-has-keys="true" data-is-signed-in="false"' in client.get("/").text
    client.post("/session", data={"key": "ann-1"})
    assert 'data-has-keys="true" data-is-signed-in="true"' in client.get("/").text
    client.delete("/session")
    assert 'data-is-signed-in="false"' in client.get("/").text


# Savings by product


@pytest.fixture
def finished(upload, origin, jpeg):
    """The id of a finished request: two images, one image, none."""
    origin.serve("/a.jpg", jpeg)
    origin.serve("/b.jpg", jpeg)
    a, b = origin.url("/a.jpg"), origin.url("/b.jpg")
    text = f"SKU,Name,Images\nS1,One,{a}\nS2,Two,{a} {b}\nS3,Three,{origin.url('/gone.jpg')}\n"
    return upload(text, headers={"Prefer": "wait=20"}).json["request_id"]


def test_savings_name_the_products_that_lost_most_first(client, finished, jpeg):
    body = client.get(f"/requests/{finished}/savings").json

    assert (body["rows"], body["all_rows"]) == (3, 3)
    assert [product["product_name"] for product in body["products"]] == ["Two", "One"]
    two = body["products"][0]
    assert two | {"bytes_out": 0} == {
        "row": 2,
        "serial_number": "S2",
        "product_name": "Two",
        "images": 2,
        "bytes_in": 2 * len(jpeg),
        "bytes_out": 0,
    }
    assert 0 < two["bytes_out"] < two["bytes_in"]


def test_as_many_products_are_named_as_are_asked_for(client, finished):
    assert len(client.get(f"/requests/{finished}/savings?limit=1").json["products"]) == 1
    assert client.get(f"/requests/{finished}/savings?limit=0").status_code == 400


def test_savings_look_at_the_first_rows_only(database, finished):
    savings = database.products.largest_savings(finished, last_row=1, limit=9)

    assert [saving.product_name for saving in savings] == ["One"]
