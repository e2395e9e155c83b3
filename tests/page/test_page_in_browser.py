"""From a file to its pictures, in a real Chromium against the real service.

Every test opens pages by `opened`, which fails when any other origin was asked for something, or
when the console told of a fault.
"""

import csv

import pytest
from playwright.sync_api import expect

from tests.page.browser import EXECUTABLE, MISSING, choose, opened, send_to_the_end

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)


# From a file to its result


def test_a_catalogue_goes_from_a_file_to_a_gallery(browser, service, origin, catalogue, tmp_path):
    file = catalogue([("Cup", "/cup.jpg", "/handle.jpg"), ("Pot", "/pot.jpg")])
    with opened(browser, service.url, also=[origin.url()]) as page:
        choose(page, file)
        expect(page.locator("#report-title")).to_have_text("Every row is in order")
        assert [page.locator(f"#report-{what}").text_content() for what in ("rows", "images")] == [
            "2",
            "3",
        ]
        page.get_by_role("button", name="Compress 3 images").click()

        expect(page.locator("#outcome")).to_be_visible()
        expect(page.locator("#saved-percent")).not_to_have_text("0")
        expect(page.locator(".card")).to_have_count(3)
        assert page.evaluate(
            "[...document.images].every(i => !i.src || i.src.startsWith(location.origin))"
        )
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV to import").click()
        download.value.save_as(tmp_path / "import.csv")
        text = (tmp_path / "import.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["Images"].count("/processed/") for row in rows] == [2, 1]


def test_the_picture_before_is_fetched_when_a_pair_is_opened_and_without_a_referrer(
    browser, service, origin, catalogue
):
    with opened(browser, service.url, also=[origin.url()]) as page:
        send_to_the_end(page, catalogue([("Cup", "/cup.jpg"), ("Pot", "/gone-soon.jpg")]))
        page.locator(".card").first.wait_for()
        assert origin.count("/cup.jpg") == 1  # by the service

        page.get_by_role("button", name="cup.jpg").click()

        expect(page.get_by_label("How much of the picture before is shown")).to_be_visible()
        seen = [r for r in origin.requests if r.path == "/cup.jpg"]
        assert len(seen) == 2
        assert "referer" not in seen[1].headers
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#pair")).to_be_hidden()


def test_a_host_that_does_not_show_the_picture_before_is_named(browser, service, origin, catalogue):
    with opened(browser, service.url, also=[origin.url()]) as page:
        send_to_the_end(page, catalogue([("Cup", "/cup.jpg")]))
        origin.serve("/cup.jpg", status=403)

        page.get_by_role("button", name="cup.jpg").click()

        expect(page.locator("#pair-note")).to_contain_text(f"{origin.address} does not show")
        expect(page.locator("#split")).to_be_hidden()
        expect(page.locator("#pair-after")).to_be_visible()


def test_the_sample_is_one_click_away_and_its_savings_are_drawn(page):
    page.get_by_role("button", name="Try the sample catalogue").click()
    page.get_by_role("button", name="Compress 116 images").click()
    expect(page.locator("#outcome-counts")).to_have_text("113 pictures · 3 failed")

    page.get_by_role("tab", name="By product").click()

    expect(page.locator("#savings tr")).to_have_count(12)
    largest = page.locator("#savings tr").first
    expect(largest).to_contain_text("kB to")
    width = "e => e.getBoundingClientRect().width"
    before, after = (largest.locator(f".{bar}").evaluate(width) for bar in ("dotted", "inked"))
    assert 1 < after < before


def test_options_are_sent_as_they_were_set(page, service, catalogue):
    choose(page, catalogue([("Cup", "/cup.jpg")]))
    page.locator("#quality").fill("31")
    page.locator("#format").select_option("webp")
    page.locator("#max_width").fill("32")
    page.locator("#more summary").click()
    page.locator("#image_column").fill("Images\n")
    page.locator("#webhook_url").fill(f"{service.url}/webhook")

    page.locator("#send:enabled").click()

    expect(page.locator("#outcome")).to_be_visible()
    meta = page.locator("#request-meta")
    expect(meta).to_contain_text("quality 31 · format webp · at most 32 × any pixels · webhook")
    size = "i => i.decode().then(() => [i.naturalWidth, i.currentSrc.split('.').pop()])"
    assert page.locator(".card img").evaluate(size) == [32, "webp"]


def test_who_looks_elsewhere_while_a_file_is_sent_is_not_pulled_away(page, catalogue):
    choose(page, catalogue([("Cup", "/cup.jpg")]))
    expect(page.locator("#send")).to_be_enabled()
    held = []
    page.route("**/upload", lambda route: held.append(route))
    with page.expect_request("**/upload"):
        page.locator("#send").click()

    page.get_by_role("link", name="Earlier requests").click()
    expect(page.locator("#earlier")).to_be_visible()
    held[0].continue_()

    expect(page.locator("#announcer")).to_have_text("The catalogue has been sent.")
    expect(page.locator("#earlier")).to_be_visible()
    assert page.url.endswith("?requests=all")


# Files that can't be used


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Name,Price\nCup,3\n", "image"),
        (b"Images\n\x00\x01\n", "NUL"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_cannot_be_sent(page, content, says):
    choose(page, {"name": "bad.csv", "mimeType": "text/csv", "buffer": content})

    title = page.locator("#report-title")
    expect(title).to_contain_text(says)
    expect(page.locator("#send")).to_be_disabled()
    expect(title).to_be_focused()

    asked = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, {"name": "ok.csv", "mimeType": "text/csv", "buffer": b"Images\nhttp://h/a.jpg\n"})
    expect(page.locator("#send")).to_be_enabled()
    assert len(asked) == 1  # uploads may be counted


def test_a_file_that_is_too_large_is_not_even_sent(page):
    page.evaluate("document.body.dataset.maxBytes = 10")

    choose(page, {"name": "large.csv", "mimeType": "text/csv", "buffer": bytes(11)})

    expect(page.locator("#start-alert")).to_contain_text("11 bytes; at most 10 bytes")
    expect(page.locator("#drop")).to_be_visible()


def test_an_option_that_is_refused_can_be_mended(page, catalogue):
    choose(page, catalogue([("Cup", "/cup.jpg")]))
    page.locator("#max_width").fill("99999")
    page.locator("#send:enabled").click()
    expect(page.locator("#start-alert")).to_contain_text("pixels from 1 to 65535")

    page.locator("#max_width").fill("64")
    page.locator("#send").click()

    expect(page.locator("#outcome")).to_be_visible()


def test_a_column_that_is_not_found_can_be_named(page):
    content = b"SKU;Bilder\n1;http://h/a.jpg\n"
    choose(page, {"name": "bilder.csv", "mimeType": "text/csv", "buffer": content})
    expect(page.locator("#report-title")).to_contain_text("'SKU', 'Bilder'")

    page.locator("#image_column").fill("Bilder")  # is to be seen already
    page.keyboard.press("Tab")

    expect(page.locator("#send")).to_be_enabled()
    expect(page.locator("#base_url")).to_be_focused()


def test_faults_are_shown_with_their_place_and_may_stop_the_whole(page):
    content = b"SKU,Images\n1,http://h/a.jpg\n2,<b>no url</b>\n"
    choose(page, {"name": "faulty.csv", "mimeType": "text/csv", "buffer": content})

    row = page.locator("#fault-rows tr")
    expect(row).to_have_count(1)
    assert row.locator("td").all_text_contents()[:3] == ["2", "3", "Images"]
    expect(row).to_contain_text("bad_url")
    expect(row).to_contain_text("<b>no url</b>")  # text, not HTML
    expect(page.locator("#send")).to_be_enabled()

    page.locator("#more summary").click()
    page.locator("#on_error").focus()
    page.locator("#on_error").select_option("reject")
    expect(page.locator("#send")).to_be_disabled()
    expect(page.locator("#report")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#on_error")).to_be_focused()
    expect(page.locator("#report-title")).to_contain_text("1 fault was found")
