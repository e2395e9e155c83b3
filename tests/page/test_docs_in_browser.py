"""/docs in Chromium: an upload is tried from it, and nobody else is asked for anything."""

import pytest

from tests.page.browser import EXECUTABLE, MISSING, opened
from tests.service_process import PROJECT, service_process

pytestmark = pytest.mark.skipif(not EXECUTABLE, reason=MISSING)

FORM = "#operations-requests-upload"


@pytest.fixture
def docs(browser, mongodb, tmp_path):
    """Of a service that the sample catalogue names."""
    settings = {"MONGODB_URI": mongodb, "MONGODB_DATABASE": "page_docs"}
    with service_process(tmp_path, BASE_URL="http://127.0.0.1:8000", **settings) as service:
        url = f"{service.wait_until_ready().url}/docs"
        with opened(browser, url, shows=FORM) as page:
            yield page


def test_an_upload_is_tried_with_what_was_filled_in_and_the_defaults(docs):
    docs.click("text=Upload a catalogue")
    docs.set_input_files(f"{FORM} input[type=file]", PROJECT / "samples" / "catalog.csv")
    docs.fill(f"{FORM} [data-property-name=max_width] input", "200")

    with docs.expect_response("**/upload") as caught:
        docs.click(f"{FORM} .execute")

    status = caught.value.json()
    assert status["status"] == "completed"
    assert status["options"] == {"quality": 50, "format": "auto", "max_width": 200}
    assert status["webhook"]["state"] == "none"
