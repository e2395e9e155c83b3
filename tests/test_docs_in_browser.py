"""/docs in Chromium: an upload is tried from it, and nobody else is asked for anything."""

import os
import shutil
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from tests.service_process import PROJECT, service_process

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FORM = "#operations-requests-upload"


@pytest.fixture
def page():
    """No name leads anywhere, so that no packet can leave the machine."""
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-gpu"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page()
        page.set_default_timeout(20_000)
        yield page
        browser.close()


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
def test_an_upload_is_tried_with_what_was_filled_in_and_the_defaults(page, tmp_path):
    asked, said = set(), []
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.on("console", lambda message: said.append(message.text))
    with service_process(tmp_path, BASE_URL="http://127.0.0.1:8000") as service:
        page.goto(f"{service.wait_until_ready().url}/docs")
        page.click("text=Upload a catalogue")
        page.set_input_files(f"{FORM} input[type=file]", PROJECT / "samples" / "catalog.csv")
        page.fill(f"{FORM} [data-property-name=max_width] input", "200")

        with page.expect_response("**/upload") as caught:
            page.click(f"{FORM} .execute")

        status = caught.value.json()

    assert status["status"] == "completed"
    assert status["options"] == {"quality": 50, "format": "auto", "max_width": 200}
    assert status["webhook"]["state"] == "none"
    assert asked == {urlsplit(service.url).netloc}
    assert said == []
