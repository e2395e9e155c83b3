"""`POST /redeliver/<id>`: the same event again."""

import json

import pytest


@pytest.fixture
def ended(upload, client, origin, jpeg, wait_for):
    """A function that has a request run to its end, and returns its status document."""

    def run(**fields):
        origin.serve("/a.jpg", jpeg)
        reply = upload(f"Images\n{origin.url('/a.jpg')}\n", **fields)
        url = reply.json["status_url"]
        return wait_for(
            lambda: (
                (body := client.get(url).json)["status"] == "completed"
                and body["webhook"]["state"] in ("delivered", "none")
                and body
            )
        )

    return run


def test_the_same_id_and_body_are_sent_again(client, ended, origin, wait_for):
    origin.serve("/hook")
    request_id = ended(webhook_url=origin.url("/hook"))["request_id"]

    reply = client.post(f"/redeliver/{request_id}")

    assert reply.status_code == 202
    assert reply.json["status"] == "completed"
    wait_for(lambda: origin.count("/hook") == 2)
    first, second = (request for request in origin.requests if request.path == "/hook")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert json.loads(second.body)["request_id"] == request_id


def test_a_request_without_a_webhook_has_none_to_send(client, ended):
    reply = client.post(f"/redeliver/{ended()['request_id']}")

    assert reply.status_code == 409
    assert "without webhook_url" in reply.json["error"]


def test_an_unknown_request_is_404(client):
    reply = client.post("/redeliver/00000000-0000-4000-8000-000000000000")

    assert (reply.status_code, reply.json) == (404, {"error": "Request ID not found"})
