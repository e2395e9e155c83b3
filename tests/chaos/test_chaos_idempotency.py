"""An upload with an Idempotency-Key that was killed in the middle, and sent again."""

import pytest
import requests

from tests.chaos.judge import judge
from tests.chaos.wrapped import EXIT_CODE

KEY = "nightly-2026-01-31"


@pytest.mark.parametrize("step", ["upload stored", "products inserted", "committed"])
def test_an_upload_killed_in_the_middle_and_sent_again_is_one_request(world, run_of, keep, step):
    run = run_of(20)
    world.start({"die_at": step, "die_on": 1, "webhook_hold": 0.3}).wait_until_ready()
    with pytest.raises(requests.ConnectionError):
        world.upload(run.catalogue.file, world.name, KEY)
    assert world.life.wait_for_death() == EXIT_CODE

    world.start().wait_until_ready()
    request_id = world.upload(run.catalogue.file, world.name, KEY)
    assert world.upload(run.catalogue.file, world.name, KEY) == request_id
    world.wait_for_end(request_id)

    counts = judge(world, {request_id: run}, hook=world.name)
    keep(f"11 Idempotency-Key, killed at: {step}", runs=1, kills=1, **counts)
