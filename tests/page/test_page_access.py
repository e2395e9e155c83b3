"""The page by keyboard, on a phone, and as axe-core judges it."""

import os
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.browser import (
    EXECUTABLE,
    MISSING,
    PHONE,
    choose,
    opened,
    scrolls_sideways,
    send,
    serious_faults,
    sign_in,
)
from tests.service_process import PROJECT

SAMPLES = PROJECT / "samples"
SCREENSHOTS = PROJECT / "docs" / "screenshots"
PICTURED = ("start", "checked", "progress", "gallery", "pair", "failures", "phone-dark")
HELD_FROM = 60

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)


def press_until(page, key, locator):
    """So many Tabs as it takes, within reason."""
    for _ in range(40):
        if locator.evaluate("e => e === document.activeElement"):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} does not lead to {locator}")


def test_everything_is_done_with_the_keyboard_alone(page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    press_until(page, "Tab", page.get_by_role("button", name="Try the sample catalogue"))
    page.keyboard.press("Enter")
    expect(page.locator("#report-title")).to_be_focused()
    press_until(page, "Tab", page.get_by_label("Quality"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("#quality-shown")).to_have_text("51")
    press_until(page, "Tab", page.locator("#send"))
    page.keyboard.press("Enter")
    expect(page.locator("#request-title")).to_be_focused()
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator("#announcer")).to_contain_text("percent smaller")

    press_until(page, "Tab", page.get_by_role("tab", name="Pictures"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Failures")).to_be_focused()
    expect(page.locator("#failures li")).to_have_count(3)
    page.keyboard.press("ArrowLeft")
    card = page.locator(".card button").first
    press_until(page, "Tab", card)
    page.keyboard.press("Enter")
    split = page.get_by_label("How much of the picture before is shown")
    expect(split).to_be_visible()
    press_until(page, "Tab", split)
    page.keyboard.press("ArrowRight")
    expect(split).to_have_value("51")
    page.keyboard.press("Escape")
    expect(card).to_be_focused()


def test_nothing_scrolls_sideways_on_a_phone(browser, service, origin, catalogue):
    also = [origin.url()]
    with opened(browser, service.url, viewport=PHONE, also=also, has_touch=True) as page:
        assert not scrolls_sideways(page)
        name = "a-catalogue-with-a-very-long-name-that-nobody-would-ever-want-to-type.csv"
        long = "/" + "gone" * 60 + ".jpg"
        rows = [("Cup", "/cup.jpg", long), ("A" * 120, "/pot.jpg")]
        choose(page, catalogue(rows, name))
        expect(page.locator("#send")).to_be_enabled()
        page.locator("#more summary").click()
        assert not scrolls_sideways(page)
        page.locator("#send").click()
        expect(page.locator("#outcome")).to_be_visible()
        for tab in ("Pictures", "Failures", "By product"):
            page.get_by_role("tab", name=tab).click()
            panel = page.locator("[role=tabpanel]:visible").locator("li, tbody tr")
            expect(panel.first).to_be_visible()
            assert not scrolls_sideways(page), tab
        page.get_by_role("tab", name="Pictures").click()
        page.locator(".card button").first.click()
        expect(page.locator("#split")).to_be_visible()
        assert not scrolls_sideways(page)
        page.get_by_role("button", name="Close").click()
        page.get_by_role("link", name="Earlier requests").click()
        expect(page.locator("#requests li").first).to_be_visible()
        assert not scrolls_sideways(page)


# As axe-core judges it, and as docs/screenshots shows it


@pytest.fixture
def look(browser):
    """A function that judges a state of the page in the light and in the dark, and pictures it.

    Pictures are only written when asked for: `make screenshots`.
    """

    def judge(page, name, *, is_photograph=False):
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert serious_faults(page, runOnly=["color-contrast"]) == [], name
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        assert serious_faults(page) == [], name
        picture(page, name, is_photograph)

    return judge


def picture(page, name, is_photograph=False):
    if name in PICTURED and "SCREENSHOTS" in os.environ:
        options = {"type": "jpeg", "quality": 82} if is_photograph else {}
        path = SCREENSHOTS / f"{name}.{'jpg' if is_photograph else 'png'}"
        page.screenshot(path=path, animations="disabled", **options)


@pytest.fixture
def shop(origin):
    """The sample catalogue at another host, whose pictures of the second half are held back."""
    gate = threading.Event()
    text = (SAMPLES / "catalog.csv").read_text().replace("http://127.0.0.1:8000", origin.url(""))
    for number, path in enumerate(dict.fromkeys(re.findall(r"/samples/[^\s\",]+", text))):
        if path != "/samples/missing.jpg":
            held = gate if number >= HELD_FROM else None
            body = (SAMPLES / Path(path).name).read_bytes()
            origin.serve(path, body, gate=held)
    return text.encode(), gate


def test_axe_finds_no_serious_fault_in_any_state(browser, service, origin, shop, look):
    content, gate = shop
    with opened(browser, service.url, also=[origin.url()]) as page:
        look(page, "start")

        faulty = content + b"49,Old lamp,ftp://old.example.com/lamp.jpg,9.00\n"
        choose(page, {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": faulty})
        expect(page.locator("#fault-rows tr")).to_have_count(1)
        look(page, "checked")

        send(page, {"name": "catalogue.csv", "mimeType": "text/csv", "buffer": content})
        expect(page.locator("#progress-images")).to_have_text(re.compile("^6[0-9] of 116$"))
        expect(page.locator(".card").first).to_be_visible()
        look(page, "progress", is_photograph=True)

        gate.set()
        expect(page.locator("#outcome-counts")).to_contain_text("113 pictures")
        page.mouse.move(0, 0)
        look(page, "gallery", is_photograph=True)
        page.get_by_role("tab", name="Failures").click()
        expect(page.locator("#failures li")).to_have_count(3)
        page.mouse.move(0, 0)
        look(page, "failures")
        page.get_by_role("tab", name="By product").click()
        expect(page.locator("#savings tr")).to_have_count(12)
        look(page, "savings")
        page.get_by_role("tab", name="Pictures").click()
        page.get_by_role("button", name="cat-440").click()
        expect(page.locator("#split")).to_be_visible()
        look(page, "pair", is_photograph=True)
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Delete this request").click()
        look(page, "delete")
        page.get_by_role("button", name="Keep it").click()
        page.get_by_role("link", name="Earlier requests").click()
        expect(page.locator("#requests li").first).to_be_visible()
        look(page, "earlier")


def test_axe_finds_no_serious_fault_in_signing_in(browser, keyed, look):
    with opened(browser, keyed.url) as page:
        look(page, "sign-in")
        sign_in(page, "wrong")
        expect(page.locator("#sign-in-alert")).to_be_visible()
        look(page, "sign-in-refused")


def test_axe_finds_no_serious_fault_on_a_dark_phone(browser, service):
    options = {"viewport": PHONE, "color_scheme": "dark", "device_scale_factor": 2}
    with opened(browser, service.url, **options) as page:
        assert serious_faults(page) == []
        page.get_by_role("button", name="Try the sample catalogue").click()
        page.locator("#send:enabled").click()
        expect(page.locator("#outcome")).to_be_visible()
        expect(page.locator(".card").first).to_be_visible()
        assert serious_faults(page) == []
        picture(page, "phone-dark")
