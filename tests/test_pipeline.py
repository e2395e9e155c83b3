"""The worker half on a real database and real files; only the network is played."""

import csv
import io
import sys
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from app import making, segment_run, solo
from app import services as services_module
from app.errors import DatabaseUnavailable, ImageFailed, StorageUnavailable, Unavailable
from app.intake import Upload
from app.models import BatchOptions, BatchStatus, Counts, ImageStatus
from app.outbound import Fetched


def picture(shade):
    file = io.BytesIO()
    Image.effect_noise((48, 48), 40 + shade % 50).convert("RGB").save(file, "JPEG", quality=95)
    return file.getvalue()


class Origin:
    """Plays the network: answers by what the URL's name begins with, and counts."""

    def __init__(self):
        self.fetched = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.faults = {}
        self.pictures = {}
        self._pictures = [picture(shade) for shade in range(7)]

    def fetch(self, url, timeout_seconds, take_up_to, known):
        self.fetched[url] += 1
        assert self.gate.wait(30)
        fault = self.faults.get(url)
        if fault and (error := fault(self.fetched[url])):
            raise error
        body = self.pictures.get(url) or self._pictures[hash(url) % 7]
        return Fetched(body, url, None, None)


@pytest.fixture
def origin():
    return Origin()


@pytest.fixture
def begin(settings, origin):
    """A function that starts the services on the same database, with the network played."""
    running = []

    def start():
        services = services_module.build(settings)
        services.pipeline.maker = replace(services.pipeline.maker, sources=origin)
        services.start()
        running.append(services)
        return services

    yield start
    origin.gate.set()
    for services in running:
        services.stop()


def upload(services, rows, **options):
    text = "SKU,Images\n" + "".join(f'{n},"{",".join(urls)}"\n' for n, urls in enumerate(rows))
    file = io.BytesIO(text.encode())
    return services.intake.accept(Upload(file, "catalog.csv", "default", BatchOptions(**options)))


def ended(services, request_id):
    batch = services.database.batches.find(request_id)
    return batch.status is not BatchStatus.PROCESSING and batch


def output_rows(settings, batch):
    path = Path(settings.output_dir) / batch.output_csv_path.removeprefix("outputs/")
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))


def urls(count, start=0):
    return [f"https://h{n % 5}.example/{n}.jpg" for n in range(start, start + count)]


def test_every_slot_gets_its_own_image(begin, settings, wait_for):
    services = begin()
    rows = [[first, second] for first, second in zip(urls(120), urls(120, 500), strict=True)]

    request_id = upload(services, rows)
    batch = wait_for(lambda: ended(services, request_id))

    written = output_rows(settings, batch)
    assert [row["SKU"] for row in written] == [str(n) for n in range(120)]
    for number, row in enumerate(written, start=1):
        names = [url.rpartition("/")[2] for url in row["Output Image Urls"].split(",")]
        assert [name.partition("-")[0] for name in names] == [str(number)] * 2
        assert [name.split("-")[1] for name in names] == ["1", "2"]


def test_a_url_that_repeats_across_segments_is_fetched_once(begin, settings, origin, wait_for):
    services = begin()
    shared = "https://h.example/shared.jpg"

    request_id = upload(services, [[shared, url] for url in urls(350)])
    batch = wait_for(lambda: ended(services, request_id))

    assert origin.fetched[shared] == 1
    assert len(origin.fetched) == 351
    first_slots = {row["Output Image Urls"].split(",")[0] for row in output_rows(settings, batch)}
    assert len(first_slots) == 1
    assert services.database.segments.sum_counts(request_id).completed == 700


def test_a_transient_failure_is_tried_again_and_a_permanent_one_is_not(
    begin, origin, wait_for, monkeypatch
):
    monkeypatch.setattr(making, "WAITS_SECONDS", (0.01, 0.01))
    flapping, dead, gone = urls(3)
    origin.faults = {
        flapping: lambda n: n < 3 and ImageFailed("http_503", "Busy", permanent=False),
        dead: lambda n: ImageFailed("timeout", "after 60 s", permanent=False),
        gone: lambda n: ImageFailed("http_404", "Not Found", permanent=True),
    }
    services = begin()

    request_id = upload(services, [[flapping, dead, gone]])
    wait_for(lambda: ended(services, request_id))

    assert origin.fetched == {flapping: 3, dead: 3, gone: 1}
    counts = services.database.segments.sum_counts(request_id)
    assert (counts.completed, counts.failed) == (1, 2)


def test_a_fault_of_our_own_fails_one_image_and_the_others_finish(begin, origin, wait_for):
    origin.faults = {urls(5)[2]: lambda n: RuntimeError("a bug")}
    services = begin()

    request_id = upload(services, [[url] for url in urls(5)])
    wait_for(lambda: ended(services, request_id))

    (slot,), _ = services.database.products.page(
        request_id, after=(0, 0), limit=9, status=ImageStatus.FAILED
    )
    assert (slot.row, slot.image.result.error.permanent) == (3, False)


def test_after_a_stop_the_next_start_goes_on_where_it_stood(begin, origin, wait_for):
    first = begin()
    origin.gate.clear()
    request_id = upload(first, [[url] for url in urls(250)])
    wait_for(lambda: origin.fetched)
    threading.Timer(0.3, origin.gate.set).start()
    first.stop()
    done = set(origin.fetched)
    assert 0 < len(done) < 250

    second = begin()
    wait_for(lambda: ended(second, request_id))

    assert second.database.segments.sum_counts(request_id).completed == 250
    assert set(origin.fetched) == set(urls(250))
    assert all(origin.fetched[url] == 1 for url in done)


def test_a_disk_that_is_full_fails_no_image_and_work_goes_on_once_there_is_room(
    begin, origin, wait_for, monkeypatch
):
    services = begin()
    put_all, refused = services.storage.put_all, threading.Event()

    def refuse(_files, _meanwhile):
        refused.set()
        raise StorageUnavailable("no space left")

    monkeypatch.setattr(services.storage, "put_all", refuse)
    request_id = upload(services, [[url] for url in urls(20)])
    assert refused.wait(20)
    assert services.database.segments.sum_counts(request_id) == Counts()

    monkeypatch.setattr(services.storage, "put_all", put_all)
    wait_for(lambda: ended(services, request_id))

    assert services.database.segments.sum_counts(request_id).completed == 20


def test_a_request_of_three_images_does_not_wait_behind_a_large_one(begin, origin, wait_for):
    services = begin()
    large = upload(services, [[url] for url in urls(3000)])
    wait_for(lambda: len(origin.fetched) > 100)

    small = upload(services, [urls(3, start=10_000)])
    wait_for(lambda: ended(services, small))

    assert services.database.batches.find(large).status is BatchStatus.PROCESSING
    wait_for(lambda: ended(services, large))


def test_two_services_share_one_request_and_make_no_image_twice(begin, origin, wait_for):
    first, second = begin(), begin()

    request_id = upload(first, [[url] for url in urls(1500)])
    wait_for(lambda: ended(second, request_id))

    assert first.database.segments.sum_counts(request_id).completed == 1500
    assert set(origin.fetched.values()) == {1}


KILLER_CODER = """
import os, signal, sys
from app import solo
sys.argv = ["app.solo", sys.argv[1]]
compress = solo.compress
def kill_or_compress(source, *arguments, **options):
    if b"KILLER" in source:
        os.kill(os.getpid(), signal.SIGKILL)
    return compress(source, *arguments, **options)
solo.compress = kill_or_compress
solo.main()
"""


def test_an_image_that_ends_its_coder_is_poison_and_the_others_are_done(
    begin, origin, wait_for, monkeypatch
):
    monkeypatch.setattr(solo, "COMMAND", (sys.executable, "-c", KILLER_CODER))
    monkeypatch.setattr(segment_run, "FRUITLESS_CLAIMS", 0)
    killer = urls(5)[2]
    origin.pictures = {killer: picture(1) + b"KILLER"}
    services = begin()

    request_id = upload(services, [urls(5)])
    wait_for(lambda: ended(services, request_id))

    (slot,), _ = services.database.products.page(
        request_id, after=(0, 0), limit=9, status=ImageStatus.FAILED
    )
    assert slot.image.url == killer
    assert slot.image.result.error.code == "poison"
    assert "ended 3 processes" in slot.image.result.error.message
    assert services.database.segments.sum_counts(request_id).completed == 4


def test_a_vanished_upload_fails_the_request_and_says_so(begin, settings, origin, wait_for):
    services = begin()
    origin.gate.clear()
    request_id = upload(services, [urls(1)])
    services.storage.delete(f"uploads/{request_id}")
    origin.gate.set()

    batch = wait_for(lambda: ended(services, request_id))

    assert batch.status is BatchStatus.FAILED
    assert "uploads/" in batch.error


def test_an_unforeseen_fault_at_the_end_fails_that_request_alone(
    begin, origin, wait_for, monkeypatch
):
    services = begin()
    broken, write = [], services.exports.output_csv

    def write_or_break(batch):
        if batch.request_id in broken:
            raise RuntimeError("a bug")
        return write(batch)

    monkeypatch.setattr(services.exports, "output_csv", write_or_break)
    origin.gate.clear()
    broken.append(upload(services, [urls(1)]))
    sound = upload(services, [urls(2)])
    origin.gate.set()

    failed = wait_for(lambda: ended(services, broken[0]))
    assert failed.status is BatchStatus.FAILED
    assert "log says why" in failed.error
    assert wait_for(lambda: ended(services, sound)).status is BatchStatus.COMPLETED


@pytest.mark.parametrize(
    ("slow", "area", "claims", "renewal"),
    [
        ("put", "uploads/", "batches", "renew_intake"),
        ("put_all", "processed/", "segments", "renew"),
        ("open", "uploads/", "batches", "renew_finish"),
        ("put", "outputs/", "batches", "renew_finish"),
    ],
)
def test_a_storage_that_takes_longer_than_a_lease_costs_no_claim(
    begin, origin, wait_for, monkeypatch, slow, area, claims, renewal
):
    for module in ("intake", "segment_run", "pipeline"):
        monkeypatch.setattr(f"app.{module}.RENEW_SECONDS", 0.05)
    services = begin()
    owner = getattr(services.database, claims)
    act, renew = getattr(services.storage, slow), getattr(owner, renewal)
    acting, renewed, was_renewed = threading.Event(), threading.Event(), []

    def renew_and_tell(*arguments):
        renew(*arguments)
        if acting.is_set():
            renewed.set()

    def act_slowly(*arguments):
        key = min(arguments[0]) if slow == "put_all" else arguments[0]
        if key.startswith(area):
            acting.set()
            meanwhile = arguments[1] if slow == "put_all" else lambda: None
            was_renewed.append(wait_for(lambda: meanwhile() or renewed.is_set()))
        return act(*arguments)

    monkeypatch.setattr(owner, renewal, renew_and_tell)
    monkeypatch.setattr(services.storage, slow, act_slowly)

    request_id = upload(services, [urls(1)])
    batch = wait_for(lambda: ended(services, request_id))

    assert was_renewed == [True]
    assert batch.status is BatchStatus.COMPLETED


def test_what_was_recorded_before_the_disk_was_full_is_not_made_again(
    begin, origin, wait_for, monkeypatch
):
    services = begin()
    put_all, room = services.storage.put_all, threading.Semaphore(1)

    def put_while_there_is_room(files, meanwhile):
        if not room.acquire(blocking=False):
            raise StorageUnavailable("no space left")
        put_all(files, meanwhile)

    monkeypatch.setattr(services.storage, "put_all", put_while_there_is_room)
    request_id = upload(services, [urls(150)])
    wait_for(lambda: origin.fetched.total() > 150)  # again what was refused
    recorded = services.database.segments.sum_counts(request_id).completed
    assert 0 < recorded < 150

    monkeypatch.setattr(services.storage, "put_all", put_all)
    wait_for(lambda: ended(services, request_id))

    assert services.database.segments.sum_counts(request_id).completed == 150
    assert list(origin.fetched.values()).count(1) >= recorded


def test_an_upload_that_was_swept_away_while_it_stalled_is_not_accepted_and_leaves_nothing(
    begin, wait_for, monkeypatch
):
    services = begin()
    database, storage = services.database, services.storage
    requests = database.client[database.name]
    put = storage.put

    def put_after_the_sweep(key, file):
        requests["processing_requests"].update_one(
            {"status": "receiving"},
            {"$set": {"lease_expires_at": datetime(2026, 1, 1, tzinfo=UTC)}},
        )
        wait_for(lambda: not requests["processing_requests"].count_documents({}))
        put(key, file)

    monkeypatch.setattr(storage, "put", put_after_the_sweep)
    with pytest.raises(Unavailable):
        upload(services, [[url] for url in urls(3)])

    assert requests["products"].count_documents({}) == 0
    assert requests["segments"].count_documents({}) == 0


def test_names_are_made_of_place_source_and_content(begin, settings, wait_for):
    services = begin()
    url = "https://h.example/Grün%20%2F..%2Fetc/" + "Long Name" * 20 + ".JPEG?size=1"

    request_id = upload(services, [[url]])
    wait_for(lambda: ended(services, request_id))

    (path,) = (Path(settings.processed_dir) / request_id).iterdir()
    place, _, rest = path.name.partition("-long-name")
    assert place == "1-1"
    assert rest.removesuffix(".jpg")[-13] == "-"
    assert len(path.stem) == len("1-1-") + 60 + len("-123456789012")


def test_a_slow_host_keeps_only_its_own_images_waiting(begin, origin, wait_for):
    """Its images are among all the segments, each of which would wait for some of them."""
    services = begin()
    slow = {f"http://slow.example/{number}.jpg" for number in range(60)}
    gate, fetch = threading.Event(), origin.fetch

    def fetch_or_wait(url, *rest):
        assert url not in slow or gate.wait(60)
        return fetch(url, *rest)

    origin.fetch = fetch_or_wait
    fast = urls(540)
    rows = [[url] for pair in zip(*[iter(fast)] * 9, sorted(slow), strict=True) for url in pair]
    request_id = upload(services, rows)

    wait_for(lambda: services.database.segments.sum_counts(request_id).completed == 540)
    gate.set()

    wait_for(lambda: ended(services, request_id))
    assert services.database.segments.sum_counts(request_id).completed == 600


def test_a_segment_that_fails_by_our_own_fault_ends_its_request_in_the_end(
    begin, wait_for, monkeypatch
):
    services = begin()
    monkeypatch.setattr("app.pipeline.HOPELESS_CLAIMS", 1)
    monkeypatch.setattr(services.database.products, "read", lambda segment: 1 / 0)

    request_id = upload(services, [urls(3)])
    batch = wait_for(lambda: ended(services, request_id))

    assert batch.status is BatchStatus.FAILED
    assert "log says why" in batch.error


def test_what_fails_and_what_is_lost_gives_its_memory_back(begin, origin, wait_for, monkeypatch):
    """Images that are none, a host's last fault, and a run that dies with images in its queue."""
    services = begin()
    memory = services.pipeline.maker.memory
    fetch = origin.fetch

    def fetch_with_room(url, timeout_seconds, take_up_to, known):
        assert take_up_to(1_000_000)
        return fetch(url, timeout_seconds, take_up_to, known)

    origin.fetch = fetch_with_room
    bad, record = urls(40), services.database.results.record
    for url in bad:
        origin.pictures[url] = b"no picture"
    broken = threading.Event()

    def break_once(*args):
        if broken.is_set():
            return record(*args)
        broken.set()
        raise DatabaseUnavailable("away for a moment")

    monkeypatch.setattr(services.database.results, "record", break_once)
    request_id = upload(services, [[url] for url in bad + urls(200, start=1_000)])
    wait_for(lambda: ended(services, request_id))

    wait_for(lambda: memory._held == 0)
    assert services.database.segments.sum_counts(request_id).completed == 200
