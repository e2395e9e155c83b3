"""What the page shows of requests: while they run, when they fail, when they are large or old."""

import threading
import uuid
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect
from pymongo import MongoClient

from app.database.documents import document_of_batch, document_of_row
from app.models import Batch, BatchOptions, BatchStatus, ImageUrl, Row
from tests.page.browser import EXECUTABLE, MISSING, opened, send, send_to_the_end

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)


# While it runs


def test_progress_survives_a_reload(page, catalogue):
    gate = threading.Event()
    send(page, catalogue([("Cup", "/cup.jpg"), ("Pot", "/held.jpg")], gate=gate))
    expect(page.locator("#progress-images")).to_have_text("1 of 2")
    address = page.url

    page.reload()

    assert page.url == address
    expect(page.locator("#progress-images")).to_have_text("1 of 2")
    expect(page.get_by_role("progressbar", name="Images dealt with")).to_have_attribute(
        "aria-valuenow", "50"
    )
    expect(page.locator(".card")).to_have_count(1)
    gate.set()
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator(".card")).to_have_count(2)


def test_a_request_is_cancelled_retried_and_deleted(page, catalogue):
    gate = threading.Event()
    send(page, catalogue([("Cup", "/cup.jpg"), ("Pot", "/held.jpg")], "mugs.csv", gate))
    expect(page.locator("#progress-images")).to_have_text("1 of 2")

    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#poll-note")).to_contain_text("Stopping")
    gate.set()
    expect(page.locator("#request-state")).to_have_text(["cancelled"])

    page.get_by_role("button", name="Delete this request").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete this request").click()
    page.get_by_role("button", name="Delete for good").click()

    expect(page.get_by_role("heading", name="Earlier requests")).to_be_focused()
    expect(page.get_by_role("link", name="mugs.csv")).to_have_count(0)


def test_what_failed_is_explained_and_run_again(page, origin, jpeg, catalogue):
    send_to_the_end(page, catalogue([("Cup", "/cup.jpg"), ("Pot", "/gone.jpg")]))
    page.get_by_role("tab", name="Failures 1").click()
    entry = page.locator("#failures li")
    expect(entry).to_contain_text("http_404")
    expect(entry).to_contain_text("Mend the address")
    expect(entry.get_by_role("link")).to_have_text(origin.url("/gone.jpg"))
    expect(page.get_by_role("button", name="Retry those that may heal")).to_be_disabled()

    origin.serve("/gone.jpg", jpeg)
    page.get_by_role("button", name="Retry all").click()

    expect(page.locator("#outcome-counts")).to_have_text("2 pictures")
    page.get_by_role("tab", name="Pictures 2").click()
    expect(page.locator(".card")).to_have_count(2)


@pytest.mark.parametrize("seconds", ["0", "1"])
def test_a_service_that_is_busy_is_asked_again_when_it_says(page, catalogue, seconds):
    headers = {"Retry-After": seconds}  # 0 would be asking without a pause
    busy = [{"status": 503, "headers": headers, "json": {"error": "the disk is full"}}]
    page.route(
        "**/status/**", lambda route: route.fulfill(**busy.pop()) if busy else route.continue_()
    )

    send(page, catalogue([("Cup", "/cup.jpg")]))

    expect(page.locator("#request-alert")).to_have_text("The disk is full Asking again in 1 s.")
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator("#request-alert")).to_be_hidden()


def test_a_page_that_nobody_sees_asks_nothing(page, catalogue):
    gate = threading.Event()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    page.reload()
    send(page, catalogue([("Cup", "/held.jpg")], gate=gate))
    expect(page.locator("#progress")).to_be_visible()

    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    gate.set()
    page.clock.fast_forward("01:00")
    asked_until_hidden = len(asked)
    page.clock.fast_forward("10:00")
    expect(page.locator("#progress")).to_be_visible()
    assert len(asked) == asked_until_hidden
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator("#outcome")).to_be_visible()


# Earlier requests


def test_earlier_requests_are_listed_by_state_and_lead_to_their_results(page, catalogue):
    send_to_the_end(page, catalogue([("Cup", "/cup.jpg")], "lamps.csv"))

    page.get_by_role("link", name="Earlier requests").click()
    page.get_by_label("Show", exact=True).select_option("failed")
    expect(page.get_by_text("There is nothing here yet")).to_be_visible()
    page.get_by_label("Show", exact=True).select_option("completed")
    page.get_by_role("link", name="lamps.csv").first.click()

    expect(page.get_by_role("heading", name="lamps.csv")).to_be_focused()
    expect(page.locator("#outcome")).to_be_visible()
    page.go_back()
    expect(page.locator("#earlier-status")).to_have_value("completed")


def test_a_request_that_is_not_there_is_told(browser, service):
    with opened(browser, f"{service.url}/?request={uuid.uuid4()}") as page:
        expect(page.get_by_role("heading", name="There is no such request")).to_be_visible()


@pytest.fixture
def ten_thousand(mongodb):
    """The id of a finished request of so many images, which were never made."""
    batch = Batch(
        request_id=str(uuid.uuid4()),
        owner="default",
        status=BatchStatus.COMPLETED,
        created_at=datetime.now(UTC),
        filename="large.csv",
        upload_path="",
        options=BatchOptions(),
        rows=5_000,
        total=10_000,
    )
    with MongoClient(mongodb) as client:
        insert_done(client["page_open"], batch)
    return batch.request_id


def insert_done(database, batch):
    done = {"bytes_in": 1_000, "bytes_out": 400, "kept_original": False, "error": None}
    products = []
    for number in range(1, batch.rows + 1):
        urls = tuple(ImageUrl(f"http://127.0.0.1/{number}-{n}.jpg", "Images") for n in (1, 2))
        row = Row(number, number, (), str(number), f"Product {number}", urls)
        product = document_of_row(batch.request_id, row)
        for position, image in enumerate(product["images"], start=1):
            path = f"processed/{batch.request_id}/{number}-{position}-a-{number:012x}.jpg"
            image |= done | {"status": "completed", "path": path}
        products.append(product)
    database["products"].insert_many(products)
    counts = dict.fromkeys(("failed", "cancelled", "reused", "bytes_stored"), 0)
    counts |= {"completed": batch.total, "bytes_in": 10**7, "bytes_out": 4 * 10**6}
    segment = {"_id": f"{batch.request_id}:1", "request_id": batch.request_id, "first_row": 1}
    database["segments"].insert_one(segment | {"state": "done", "counts": counts})
    ended = {"started_at": batch.created_at, "completed_at": batch.created_at, "counts": counts}
    database["processing_requests"].insert_one(document_of_batch(batch) | ended)


def test_ten_thousand_images_are_shown_a_page_at_a_time(browser, service, ten_thousand):
    with opened(browser, f"{service.url}/?request={ten_thousand}") as page:
        cards = page.locator(".card")
        expect(page.get_by_role("tab", name="Pictures 10,000")).to_be_visible()
        expect(cards).to_have_count(48)
        expect(page.locator(".card-name").first).to_have_text("1-1.jpg")
        pager = page.get_by_role("navigation", name="Pages of pictures")
        expect(pager.get_by_role("button", name="Previous")).to_be_disabled()

        for number in (2, 3):
            pager.get_by_role("button", name="Next").click()
            expect(pager).to_contain_text(f"page {number}")
        expect(page.locator(".card-name").first).to_have_text("49-1.jpg")
        pager.get_by_role("button", name="Previous").click()
        expect(page.locator(".card-name").first).to_have_text("25-1.jpg")

        assert cards.count() == 48
        assert page.evaluate("document.querySelectorAll('*').length") < 1_200
