"""What is counted, how several processes add up, and how Prometheus reads it."""

import fcntl
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from app.metrics import Metrics, Snapshot, meters
from app.metrics.sharing import SharedMetrics
from app.metrics.text import text_of
from app.models import (
    Batch,
    BatchOptions,
    BatchStatus,
    ImageError,
    ImageResult,
    ImageStatus,
    Timings,
    Webhook,
    WebhookState,
)
from tests.scraped import samples
from tests.service_process import PROJECT

DONE = ImageResult(ImageStatus.COMPLETED, "processed/a/1-1-a.jpg", 1_000, 400)
KEPT = ImageResult(ImageStatus.COMPLETED, "processed/a/2-1-a.jpg", 10, 10, kept_original=True)
REUSED = ImageResult(ImageStatus.COMPLETED, "processed/a/3-1-a.jpg", 500, 200, reused=True)
GONE = ImageResult(ImageStatus.FAILED, error=ImageError("http_404", "Not Found", permanent=True))


def told(source):
    """Samples by name and labels, read back with Prometheus' own parser."""
    snapshot = source if isinstance(source, Snapshot) else source.snapshot()
    return samples(text_of(snapshot).decode())


def record(metrics, *results, timings=()):
    metrics.images_recorded(results, timings, store_seconds=0.02, record_seconds=0.3)


def test_images_are_counted_by_result_and_code_and_what_was_reused_has_cost_no_bytes():
    metrics = Metrics()

    record(metrics, DONE, KEPT, REUSED, GONE, GONE)
    metrics.images_cancelled(7)

    found = told(metrics)
    assert found["pressroom_images_total", "completed", ""] == 3
    assert found["pressroom_images_total", "failed", "http_404"] == 2
    assert found["pressroom_images_total", "cancelled", "cancelled"] == 7
    assert found["pressroom_images_reused_total",] == 1
    assert found["pressroom_images_kept_total",] == 1
    assert found["pressroom_bytes_in_total",] == 1_010
    assert found["pressroom_bytes_out_total",] == 410


def test_the_seconds_of_each_stage_fall_into_the_bucket_that_ends_above_them():
    metrics = Metrics()
    timings = Timings(
        fetch_seconds=0.3,
        wait_seconds=0.25,
        compress_seconds=1_000,
        began_at=time.monotonic() - 20,
    )

    record(metrics, DONE, timings=[timings])

    found = told(metrics)
    assert found["pressroom_stage_seconds_bucket", "fetch", "0.25"] == 0
    assert found["pressroom_stage_seconds_bucket", "fetch", "0.5"] == 1
    assert found["pressroom_stage_seconds_sum", "fetch"] == 0.3
    assert found["pressroom_stage_seconds_bucket", "wait", "0.25"] == 1
    assert found["pressroom_stage_seconds_bucket", "compress", "180.0"] == 0
    assert found["pressroom_stage_seconds_bucket", "compress", "+Inf"] == 1
    assert found["pressroom_stage_seconds_bucket", "image", "10.0"] == 0
    assert found["pressroom_stage_seconds_bucket", "image", "30.0"] == 1
    assert found["pressroom_stage_seconds_count", "store"] == 1
    assert found["pressroom_stage_seconds_sum", "record"] == 0.3


@pytest.mark.parametrize(("round_number", "bucket"), [(0, "10800.0"), (1, "60.0")])
def test_a_request_lasts_from_its_upload_and_a_retried_one_from_its_retry(round_number, bucket):
    now = datetime.now(UTC)
    batch = Batch(
        request_id="a",
        owner="default",
        status=BatchStatus.PROCESSING,
        created_at=now - timedelta(hours=2),
        filename="a.csv",
        upload_path="uploads/a/upload",
        options=BatchOptions(),
        total=1,
        rows=1,
        started_at=now - timedelta(seconds=40),
        round=round_number,
    )
    metrics = Metrics()

    metrics.request_ended(batch, BatchStatus.COMPLETED)

    found = told(metrics)
    bounds = [
        name[1] for name, value in found.items() if "request_seconds_bucket" in name[0] and value
    ]
    assert bounds[0] == bucket
    assert found["pressroom_requests_ended_total", "completed"] == 1


@pytest.mark.parametrize(
    ("status", "state", "outcome"),
    [
        (204, WebhookState.DELIVERED, "delivered"),
        (500, WebhookState.PENDING, "refused"),
        (410, WebhookState.FAILED, "refused"),
        (None, WebhookState.PENDING, "no_answer"),
    ],
)
def test_a_try_to_deliver_is_counted_by_its_outcome(status, state, outcome):
    metrics = Metrics()

    metrics.webhook_tried(Webhook("a", "http://h", "msg_1", "{}", state, last_status=status))

    assert told(metrics)["pressroom_webhook_tries_total", outcome, state.value] == 1


def test_every_meter_is_there_before_anything_has_happened():
    text = text_of(Metrics().snapshot()).decode()

    for meter in meters.METERS:
        assert f"# TYPE {meter.name} {meter.kind}\n" in text


def test_gauges_are_read_when_somebody_asks():
    metrics, busy = Metrics(), [3]
    metrics.watch({meters.CODERS: lambda: busy[0]})
    busy[0] = 5

    assert told(metrics)["pressroom_coders_busy",] == 5


# Several processes


@pytest.fixture
def sharing(tmp_path, monkeypatch):
    """A function that begins the metrics of one more process; all are stopped afterwards."""
    monkeypatch.setattr("app.metrics.sharing.PUBLISH_SECONDS", 0.05)
    begun = []

    def begin():
        shared = SharedMetrics(Metrics(), tmp_path / "metrics")
        begun.append(shared)
        shared.start()
        return shared

    yield begin
    for shared in begun:
        shared.stop()


def images(shared):
    return told(shared.whole()).get(("pressroom_images_total", "completed", ""), 0)


def published(shared):
    return images(SharedMetrics(Metrics(), shared._folder))


def test_one_process_tells_what_all_have_counted_and_how_many_they_are(sharing, wait_for):
    web, worker = sharing(), sharing()
    record(worker.metrics, DONE, DONE)
    record(web.metrics, DONE)

    wait_for(lambda: images(web) == 3)

    assert told(web.whole())["pressroom_processes",] == 2


def test_what_a_process_has_counted_outlives_it_and_is_counted_once(sharing, tmp_path, wait_for):
    web, worker = sharing(), sharing()
    record(worker.metrics, DONE, DONE)
    worker.stop()

    assert images(web) == 2
    assert told(web.whole())["pressroom_processes",] == 1
    wait_for(lambda: len(list((tmp_path / "metrics").glob("*.json"))) == 1)
    assert images(web) == 2


def test_counts_go_on_after_a_restart(sharing):
    before = sharing()
    record(before.metrics, DONE)
    before.stop()
    after = sharing()
    record(after.metrics, DONE)

    assert images(after) == 2


def test_a_file_of_an_earlier_process_with_the_same_number_is_adopted_too(sharing, tmp_path):
    before = sharing()
    record(before.metrics, DONE)
    before.stop()
    after = SharedMetrics(Metrics(), tmp_path / "metrics")
    (left,) = after._folder.glob("*.json")
    left.rename(after._own_path())

    for _ in range(2):
        after._publish()

        assert images(after) == published(after) == 1


def test_a_killed_process_leaves_what_it_had_published(sharing, wait_for):
    web = sharing()
    script = (
        "import sys, time; from pathlib import Path; from app.metrics import Metrics;"
        "from app.metrics.sharing import SharedMetrics; m = Metrics(); m.images_cancelled(4);"
        "SharedMetrics(m, Path(sys.argv[1])).start(); print('on', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(web._folder)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        wait_for(lambda: told(web.whole())["pressroom_processes",] == 2)
        process.kill()

    found = told(web.whole())
    assert found["pressroom_images_total", "cancelled", "cancelled"] == 4
    assert found["pressroom_processes",] == 1


def test_a_folder_that_cannot_be_used_costs_only_the_sum(tmp_path):
    (tmp_path / "metrics").write_text("a file in the way")
    shared = SharedMetrics(Metrics(), tmp_path / "metrics")
    shared.start()
    record(shared.metrics, DONE)

    assert images(shared) == 1
    shared.stop()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", '{"counts": [["a"]], "gauges": []}', '{"counts": [["a", [], ["b"]]]}'],
)
def test_what_nobody_here_has_written_is_passed_over_and_removed(
    sharing, tmp_path, wait_for, content
):
    foreign = tmp_path / "metrics" / "1-a.json"
    foreign.parent.mkdir()
    foreign.write_text(content)

    first = sharing()
    record(first.metrics, DONE)

    assert images(first) == 1
    wait_for(lambda: not foreign.exists())


def test_buckets_of_another_version_are_left_out():
    metrics = Metrics()
    metrics.adopt({("pressroom_stage_seconds", ("store",)): [1.0, 2.0]})

    record(metrics, DONE)

    assert told(metrics)["pressroom_stage_seconds_count", "store"] == 1


def test_what_the_disk_refuses_is_not_counted_again_and_again(sharing, tmp_path, monkeypatch):
    before = sharing()
    record(before.metrics, DONE)
    before.stop()
    (tmp_path / "metrics" / "draft").mkdir()  # where a file is to be written
    after = SharedMetrics(Metrics(), tmp_path / "metrics")

    after._publish()
    after._publish()

    assert images(after) == 1


@pytest.fixture
def kept_lock(tmp_path):
    """What a process holds that is stopped midway: nobody else gets into the folder."""
    (tmp_path / "metrics").mkdir()
    with (tmp_path / "metrics" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ends_within(seconds, act):
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@pytest.mark.usefixtures("kept_lock")
def test_who_keeps_the_folder_to_itself_costs_the_sum_and_holds_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("app.metrics.sharing.MEET_SECONDS", 0.2)
    shared = SharedMetrics(Metrics(), tmp_path / "metrics")
    record(shared.metrics, DONE)
    shared.start()
    counted = []

    assert ends_within(5, lambda: counted.extend(images(shared) for _ in range(16)))
    assert ends_within(5, shared.stop)

    assert counted == [1] * 16


@pytest.mark.usefixtures("kept_lock")
def test_a_folder_that_others_keep_is_not_waited_for_by_every_scrape(tmp_path, monkeypatch):
    monkeypatch.setattr("app.metrics.sharing.MEET_SECONDS", 1.0)
    shared = SharedMetrics(Metrics(), tmp_path / "metrics")
    shared.whole()

    assert ends_within(1, lambda: [shared.whole() for _ in range(16)])
