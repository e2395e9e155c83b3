"""docs/api.md, run word for word; docs/errors.md, held against all errors that there are."""

import re

from app.models import ErrorCode, FaultCode
from tests.consoles import assert_shows_what_it_gives, needs_curl
from tests.described import document
from tests.service_process import PROJECT


@needs_curl
def test_the_examples_give_what_they_show(tmp_path):
    assert_shows_what_it_gives("docs/api.md", tmp_path)


def listed(section):
    """The codes that a table of docs/errors.md tells of."""
    text = (PROJECT / "docs" / "errors.md").read_text()
    table = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def test_what_to_do_is_said_of_every_image_code():
    assert listed("Images") == ["http_<status>", *ErrorCode]


def test_what_to_do_is_said_of_every_row_code():
    assert listed("Rows") == list(FaultCode)


def test_what_to_do_is_said_of_every_status():
    described = {
        status
        for item in document()["paths"].values()
        for operation in item.values()
        for status in operation["responses"]
        if status >= "400"
    }
    before_any_view = {"405", "431"}

    assert listed("Answers of the API") == sorted(described | before_any_view)
