"""The page of a service with API_KEYS."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.browser import EXECUTABLE, MISSING, choose, opened, sign_in

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=MISSING)


def test_a_key_lets_in_and_downloads_are_plain_links(browser, keyed):
    with opened(browser, keyed.url) as page:
        sign_in(page, "wrong")
        expect(page.locator("#sign-in-alert")).to_have_text("That is no valid API key.")
        page.keyboard.press("Escape")
        expect(page.locator("#sign-in")).to_be_visible()
        sign_in(page)
        expect(page.locator("#sign-in")).to_be_hidden()
        page.get_by_role("button", name="Try the sample catalogue").click()
        page.locator("#send:enabled").click()
        expect(page.locator("#outcome")).to_be_visible()

        for link, name in (("Result as CSV", "csv"), ("Excel workbook", "xlsx"), ("All", "zip")):
            with page.expect_download() as download:
                page.get_by_role("link", name=link).click()
            assert Path(download.value.suggested_filename).suffix == f".{name}"
            assert download.value.failure() is None

        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("#sign-in")).to_be_visible()


def test_a_cookie_that_the_browser_refuses_is_told_with_the_address_to_open(browser, keyed):
    with opened(browser, keyed.url) as page:
        page.route("**/session", lambda route: route.fulfill(status=204))  # Set-Cookie is lost
        sign_in(page)

        expect(page.locator("#sign-in-alert")).to_contain_text("refused the session's cookie")
        expect(page.locator("#sign-in-alert")).to_contain_text(f"BASE_URL, {keyed.url}")
        expect(page.locator("#sign-in")).to_be_visible()


def test_an_ended_session_asks_for_the_key_and_loses_nothing(browser, keyed, catalogue):
    with opened(browser, keyed.url) as page:
        sign_in(page)
        expect(page.locator("#sign-in")).to_be_hidden()  # else the desk is cleared once it is
        expect(page.locator("#start")).to_be_visible()
        choose(page, catalogue([("Cup", "/cup.jpg")], "kept.csv"))
        expect(page.locator("#send")).to_be_enabled()
        page.locator("#quality").fill("33")
        page.context.clear_cookies()

        page.locator("#send").click()
        expect(page.locator("#sign-in-text")).to_contain_text("Your session has ended")
        sign_in(page)

        expect(page.get_by_role("heading", name="kept.csv")).to_be_visible()
        expect(page.locator("#request-meta")).to_contain_text("quality 33")
        expect(page.locator("#outcome")).to_be_visible()
        page.context.clear_cookies()
        page.get_by_role("link", name="Result as CSV").click()
        with page.expect_download() as download:
            sign_in(page)
        assert download.value.failure() is None
