"""Hosts that are slow, narrow or overrun, through the whole service: no image is lost to them."""

import io

import pytest

from app import making
from app.intake import Upload
from app.models import BatchOptions


@pytest.fixture
def run(upload, client, wait_for):
    def run_to_the_end(urls):
        text = "Images\n" + "".join(f"{url}\n" for url in urls)
        url = upload(text).json["status_url"]
        return wait_for(lambda: (s := client.get(url).json)["status"] != "processing" and s)

    return run_to_the_end


def test_images_that_share_a_narrow_line_all_come(run, origin, jpeg):
    picture = jpeg + bytes(100_000)
    for number in range(12):
        origin.throttled(f"/{number}.jpg", picture, bytes_per_second=1_500_000)

    status = run(origin.url(f"/{number}.jpg") for number in range(12))

    assert status["progress"]["completed"] == 12
    assert origin.peak() > 1


def test_a_host_that_is_overrun_is_given_its_time_and_no_image_fails(run, origin, jpeg):
    paths = [f"/{number}.jpg" for number in range(24)]
    origin.overrun(paths, jpeg, beyond=3)

    progress = run(map(origin.url, paths))["progress"]

    assert (progress["completed"], progress["failed"]) == (24, 0)
    refused = len(origin.requests) - 24
    assert 0 < refused <= 16


def test_a_host_that_slows_down_beyond_8_connections_is_given_hardly_more(run, origin, jpeg):
    paths = [f"/{number}.jpg" for number in range(40)]
    origin.crowd(paths, jpeg, beyond=8, seconds=0.3)

    assert run(map(origin.url, paths))["progress"]["completed"] == 40
    assert 8 <= origin.peak() <= 16


def test_a_host_that_flaps_is_tried_again(run, origin, jpeg, monkeypatch):
    monkeypatch.setattr(making, "WAITS_SECONDS", (0.01, 0.01))
    for number in range(5):
        origin.flap(f"/{number}.jpg", jpeg, failures=2)

    assert run(origin.url(f"/{n}.jpg") for n in range(5))["progress"]["completed"] == 5


def test_the_host_is_told_who_calls(run, settings, origin, jpeg):
    origin.serve("/a.jpg", jpeg)

    run([origin.url("/a.jpg")])

    assert origin.requests[0].headers["user-agent"] == settings.user_agent
    assert settings.user_agent.startswith("Pressroom/")


def test_a_proxy_that_is_set_fetches_everything(
    settings, build_services, client_of, origin, jpeg, wait_for
):
    """No host named `shop.example` is there; the proxy is asked for it."""
    origin.serve("http://shop.example/a.jpg", jpeg)
    behind = settings.model_copy(update={"proxy_url": origin.url(), "user_agent": "shop-bot/2"})
    services = build_services(behind)
    services.start()
    client = client_of(behind, services)

    request_id = services.intake.accept(upload_of("http://shop.example/a.jpg"))

    url = f"/status/{request_id}"
    wait_for(lambda: client.get(url).json["progress"]["completed"] == 1)
    assert origin.requests[0].path == "http://shop.example/a.jpg"
    assert origin.requests[0].headers["user-agent"] == "shop-bot/2"


def upload_of(url):
    return Upload(io.BytesIO(f"Images\n{url}\n".encode()), "c.csv", "default", BatchOptions())
