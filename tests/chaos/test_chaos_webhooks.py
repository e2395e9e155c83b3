"""Webhooks of the real service: one id and one body on every try, whoever else does not answer."""

import socket
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from tests.chaos.scale import IS_LONG
from tests.chaos.world import SECRET, wait_for

DEAD = 100
WAITS_SECONDS = [1.1, 1.1, 1.1]
"""Longer than a second, so that the timestamps of two tries differ."""


@pytest.fixture
def catalogue(origin_process):
    return f"Images\n{origin_process.image(1)}\n".encode()


def webhook_state(world, request_id):
    status = world.status(request_id)
    return status and status["webhook"]["state"]


def wait_for_webhook(world, request_id, state):
    wait_for(lambda: webhook_state(world, request_id) == state, f"the webhook to be {state}")


def test_every_try_has_the_same_id_and_body_and_a_time_and_signature_of_its_own(
    world, catalogue, keep
):
    world.start({"webhook_waits": WAITS_SECONDS}).wait_until_ready()
    world.origin.answer_hook(world.name, 500, 500, 200)

    request_id = world.upload(catalogue, world.name)
    wait_for_webhook(world, request_id, "delivered")

    tries = world.origin.posted(world.name)
    for post in tries:
        Webhook(SECRET).verify(post["body"], post["headers"])
    assert len(tries) == 3
    assert len({post["headers"]["webhook-id"] for post in tries}) == 1
    assert len({post["body"] for post in tries}) == 1
    assert len({post["headers"]["webhook-timestamp"] for post in tries}) == 3
    keep("9 webhook answered 500, 500, 200", runs=1, kills=0, webhook_ids=1, webhook_posts=3)


@pytest.mark.parametrize(("status", "state"), [(302, "pending"), (410, "failed")])
def test_a_redirect_is_not_followed_and_410_ends_the_tries(world, catalogue, status, state):
    world.start().wait_until_ready()
    world.origin.answer_hook(world.name, *[status] * 10)

    request_id = world.upload(catalogue, world.name)
    wait_for(
        lambda: (world.status(request_id) or {})["webhook"]["last_status"] == status, "a first try"
    )

    webhook = world.status(request_id)["webhook"]
    assert (webhook["state"], webhook["attempts"]) == (state, 1)
    assert len(world.origin.posted(world.name)) == 1
    assert not world.origin.posted(f"{world.name}-redirected")
    assert world.status(request_id)["status"] == "completed"


def test_killed_between_sending_and_recording_it_sends_the_same_id_again(world, catalogue, keep):
    world.start({"die_at": "webhook sent"}).wait_until_ready()
    request_id = world.upload(catalogue, world.name)
    world.life.wait_for_death()

    world.start().wait_until_ready()
    let_the_hold_run_out(world)
    wait_for_webhook(world, request_id, "delivered")

    tries = world.origin.posted(world.name)
    assert len(tries) == 2
    assert len({post["headers"]["webhook-id"] for post in tries}) == 1
    assert len({post["body"] for post in tries}) == 1
    keep("9 killed between sending and recording", runs=1, kills=1, webhook_ids=1, webhook_posts=2)


def let_the_hold_run_out(world):
    """What is held for a try is made again after a minute; that minute is over now."""
    client, database = world.database()
    with client:
        database["processing_requests"].update_many(
            {"webhook.state": "pending"}, {"$set": {"webhook.next_attempt_at": datetime.now(UTC)}}
        )


def test_a_hundred_dead_receivers_do_not_delay_a_live_one(world, catalogue, keep):
    """Each of them has a port of its own, takes connections, and never answers."""
    rounds = 5 if IS_LONG else 1
    world.start().wait_until_ready()
    with ExitStack() as listening:
        dead = [
            listening.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(DEAD)
        ]
        for listener in dead:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
            assert world.post_upload(catalogue, webhook_url=url).status_code == 202
        delays = [seconds_to_delivery(world, catalogue, number) for number in range(rounds)]

    assert max(delays) < 1
    keep(
        "9 webhook beside 100 dead receivers",
        runs=rounds,
        kills=0,
        longest_delay_seconds=round(max(delays), 3),
    )


def seconds_to_delivery(world, catalogue, number):
    """From when the request was completed to when its webhook was there."""
    hook = f"{world.name}-{number}"
    request_id = world.upload(catalogue, hook)
    [post] = wait_for(lambda: world.origin.posted(hook), "the webhook")
    completed_at = datetime.fromisoformat(world.status(request_id)["completed_at"])
    return post["at"] - completed_at.timestamp()
