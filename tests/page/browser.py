"""A real Chromium at the page, which can reach nothing but loopback and is listened to.

with chromium() as browser, opened(browser, service.url) as page:
    page.get_by_role("button", name="Try the sample catalogue").click()
"""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect, sync_playwright

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "needs Chromium: apt-get install chromium"
DESKTOP = {"width": 1280, "height": 860}
SHOWS = "section:not([hidden]), dialog[open]"
PHONE = {"width": 360, "height": 740}
KEY = "ann-1"
PATIENCE_MILLISECONDS = 15_000
AXE = Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js"
_EXPECTED = ("Failed to load resource",)
"""What the console says by itself of an answer of 4xx, which is the page's business."""

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@contextmanager
def chromium():
    """No name leads anywhere, so that no packet can leave the machine."""
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser, url, *, also=(), viewport=DESKTOP, shows=SHOWS, **options):
    """A page in a context of its own; in the end, nobody else was asked, and nothing went wrong.

    `also` are origins that the test means the page to ask; it is there once `shows` can be seen.
    """
    context = browser.new_context(viewport=viewport, locale="en-GB", timezone_id="UTC", **options)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    asked, faults = set(), []
    context.on("request", lambda request: asked.add(origin_of(request.url)))
    context.on("console", lambda message: message.type == "error" and faults.append(message.text))
    context.on("weberror", lambda error: faults.append(str(error.error)))
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(shows)
    yield page
    context.close()
    assert asked <= {origin_of(url), *map(origin_of, also)}
    assert [fault for fault in faults if not fault.startswith(_EXPECTED)] == []


def origin_of(url):
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def serious_faults(page, **options):
    """What axe-core has to say of the page as it is, as text; empty when all is well."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def scrolls_sideways(page):
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def choose(page, file):
    page.set_input_files("#file", file)


def send(page, file):
    """Chooses and sends it; the request is shown then."""
    choose(page, file)
    page.locator("#send:enabled").click()
    expect(page.locator("#request")).to_be_visible()


def send_to_the_end(page, file):
    send(page, file)
    expect(page.locator("#outcome")).to_be_visible()


def sign_in(page, key=KEY):
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")
