"""With API_KEYS: who may call what, and that nobody meets another's requests anywhere."""

import io
import uuid

import pytest
from pydantic import SecretStr

ANN = {"Authorization": "Bearer ann-1"}
ANN_TOO = {"Authorization": "bearer  ann-2"}
BOB = {"Authorization": "Bearer bob-1"}
OPEN = {
    ("POST", "/session"),
    ("DELETE", "/session"),
    ("GET", "/samples/<name>"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/processed/<request_id>/<name>"),
    ("POST", "/webhook"),
    ("GET", "/"),
    ("GET", "/static/<path:name>"),
}
"""The contract's list, section 6; what comes later is closed unless it is added here."""


@pytest.fixture
def settings(settings):
    keys = SecretStr("ann:ann-1,ann:ann-2,bob:bob-1")
    return settings.model_copy(update={"api_keys": keys})


@pytest.fixture
def anns(upload, origin, jpeg):
    """The status of a finished request of Ann's."""
    origin.serve("/a.jpg", jpeg)
    return upload(f"Images\n{origin.url('/a.jpg')}\n", headers=ANN | {"Prefer": "wait=20"}).json


def routes(app):
    """Every method and rule, and a path that fits it."""
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<request_id>", str(uuid.uuid4())).replace("<name>", "a.jpg")
        for method in sorted(rule.methods - {"OPTIONS"}):
            yield method, rule.rule, path


def is_open(method, rule):
    return ("GET" if method == "HEAD" else method, rule) in OPEN


def test_every_route_but_those_that_are_open_needs_a_key(client):
    for method, rule, path in routes(client.application):
        reply = client.open(path, method=method)

        if is_open(method, rule):
            assert reply.status_code != 401 or path == "/session", (method, rule)
        else:
            assert reply.status_code == 401, (method, rule)
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            assert method == "HEAD" or "Authorization: Bearer" in reply.json["error"]


def test_what_is_open_is_there(client):
    there = {(method, rule) for method, rule, _ in routes(client.application)}

    assert there >= OPEN


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ann-3"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ann-1 x"},
        {"Authorization": "Basic YW5uOmFubi0x"},
        {"Authorization": "ann-1"},
        {"Authorization": "Bearer \xff"},
    ],
)
def test_what_is_no_key_is_401(client, headers):
    assert client.get("/webhook", headers=headers).status_code == 401


@pytest.mark.parametrize("cookie", ["ann-1", "9999999999." + "0" * 64])
def test_what_is_no_session_is_401(client, cookie):
    client.set_cookie("pressroom_session", cookie)

    assert client.get("/webhook").status_code == 401


def test_a_path_that_leads_nowhere_tells_that_to_callers_only(client):
    assert client.get("/nowhere").status_code == 401
    assert client.get("/nowhere", headers=ANN).status_code == 404


def test_every_key_of_an_owner_shows_the_owner_s_requests(client, anns):
    for headers in (ANN, ANN_TOO):
        reply = client.get(anns["output_csv_url"], headers=headers)
        assert reply.status_code == 200


def test_a_request_stays_its_owner_s_when_the_key_it_came_with_is_gone(
    client_of, settings, services, anns
):
    rotated = settings.model_copy(update={"api_keys": SecretStr("ann:ann-3")})

    client = client_of(rotated, services)

    path = f"/status/{anns['request_id']}"
    assert client.get(path, headers=ANN).status_code == 401
    reply = client.get(path, headers={"Authorization": "Bearer ann-3"})
    assert reply.json["status"] == "completed"


def test_another_s_request_is_answered_on_every_route_as_one_that_never_was(client, anns):
    never = str(uuid.uuid4())
    for method, rule, _ in routes(client.application):
        if "<request_id>" not in rule or is_open(method, rule):
            continue
        theirs, nothing = (
            client.open(rule.replace("<request_id>", each), method=method, headers=BOB)
            for each in (anns["request_id"], never)
        )
        assert theirs.status_code == nothing.status_code == 404, (method, rule)
        assert theirs.data == nothing.data, (method, rule)
        assert dict(theirs.headers) == dict(nothing.headers), (method, rule)
    assert client.get(anns["output_csv_url"], headers=ANN).status_code == 200


def test_a_link_to_one_image_grants_that_image_and_nothing_else(client, anns):
    (image,) = anns["images"].values()
    path = image["output_url"].removeprefix("http://127.0.0.1:8000")
    folder, _, name = path.rpartition("/")

    assert client.get(path).content_type == "image/jpeg"
    for other in (f"{folder}/2{name[1:]}", f"{folder}/", folder, f"{folder}/../{name}"):
        assert client.get(other).status_code in (401, 404)
    for way in ("status", "download", "redeliver"):
        assert client.open(f"/{way}/{anns['request_id']}").status_code == 401


def test_two_owners_may_use_the_same_idempotency_key(upload, origin):
    text = f"Images\n{origin.url('/missing.jpg')}\n"

    def send(who):
        return upload(text, headers=who | {"Idempotency-Key": "1"}).json["request_id"]

    anns, bobs = send(ANN), send(BOB)

    assert anns != bobs
    assert send(ANN_TOO) == anns


def test_a_received_event_is_shown_to_the_owner_of_its_request_only(client, anns):
    body = {"request_id": anns["request_id"], "status": "completed"}
    foreign = {"request_id": "of-another-service", "status": "completed"}
    for event in (body, foreign):
        assert client.post("/webhook", json=event).status_code == 200

    def shown(who):
        events = client.get("/webhook", headers=who).json["events"]
        return [event["payload"]["request_id"] for event in events]

    assert shown(ANN) == ["of-another-service", anns["request_id"]]
    assert shown(BOB) == ["of-another-service"]


# Sessions


def log_in(client, key="ann-1", **kwargs):
    return client.post("/session", data={"key": key}, **kwargs)


def test_a_key_becomes_a_cookie_that_scripts_and_other_sites_cannot_use(client):
    reply = log_in(client)

    assert (reply.status_code, reply.data) == (204, b"")
    cookie = reply.headers["Set-Cookie"]
    assert "; HttpOnly" in cookie
    assert "; SameSite=Strict" in cookie
    assert "; Path=/" in cookie
    assert "; Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert "ann-1" not in cookie


def test_the_cookie_is_taken_wherever_a_key_is(client, anns):
    path = f"/status/{anns['request_id']}"
    assert client.get(path).status_code == 401

    log_in(client)
    assert client.get(path).json["request_id"] == anns["request_id"]
    assert client.get(anns["output_csv_url"]).status_code == 200

    log_in(client, "bob-1")
    assert client.get(path).status_code == 404


def test_a_key_goes_before_the_cookie(client, anns):
    log_in(client)

    path = f"/status/{anns['request_id']}"

    assert client.get(path, headers=BOB).status_code == 404
    assert client.get(path, headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_key_may_also_come_in_the_header(client):
    assert client.post("/session", headers=ANN).status_code == 204
    assert client.get("/webhook").status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"data": b"--x\r\nkey\r\n--x--", "content_type": "multipart/form-data; boundary=x"},
            "no form",
        ),
        ({"data": b"{}", "content_type": "application/json"}, "no form"),
        ({"data": {"key": (io.BytesIO(b"ann-1"), "key.txt")}}, "no form"),
        ({"data": {"key": "ann-1", "a": (io.BytesIO(b""), "a.txt")}}, "unknown field 'a'"),
    ],
)
def test_a_body_that_is_no_form_with_a_key_is_refused_whatever_the_header_says(client, body, said):
    reply = client.post("/session", headers=ANN, **body)

    assert reply.status_code == 400
    assert said in reply.json["error"]
    assert "Set-Cookie" not in reply.headers


def test_a_session_outlives_a_restart_but_not_its_key(client, client_of, settings, services):
    log_in(client)
    session = client.get_cookie("pressroom_session").value
    rotated = settings.model_copy(update={"api_keys": SecretStr("ann:ann-2")})

    for again, status in ((settings, 200), (rotated, 401)):
        other = client_of(again, services)
        other.set_cookie("pressroom_session", session)
        assert other.get("/webhook").status_code == status


@pytest.mark.parametrize("key", ["", "ann", "ann:ann-1", "é"])
def test_a_wrong_key_begins_no_session(client, key):
    reply = log_in(client, key)

    assert reply.status_code == 401
    assert "key" in reply.json["error"]
    assert "Set-Cookie" not in reply.headers


def test_a_session_is_ended_by_its_cookie_s_removal(client):
    log_in(client)

    assert client.delete("/session").status_code == 204
    assert client.get("/webhook").status_code == 401


def test_behind_tls_the_cookie_is_for_tls_only(client_of, settings, services):
    secure = settings.model_copy(update={"base_url": "https://images.example.com"})

    assert "; Secure" in log_in(client_of(secure, services)).headers["Set-Cookie"]


def test_a_log_in_is_no_place_for_large_bodies(client):
    reply = client.post("/session", data={"key": "x" * 5_000})

    assert reply.status_code == 413
    assert reply.json["error"]


def test_without_keys_everybody_is_in(client_of, settings, services):
    client = client_of(settings.model_copy(update={"api_keys": SecretStr("")}), services)

    reply = log_in(client, "any")

    assert reply.status_code == 204
    assert "Set-Cookie" not in reply.headers
    assert client.get("/webhook").status_code == 200
