"""README's curl session, run word for word against the real service; and the links of all pages."""

import re
from pathlib import Path

import pytest

from tests.consoles import assert_shows_what_it_gives, needs_curl
from tests.service_process import PROJECT

PAGES = sorted((*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")))


@needs_curl
def test_the_curl_session_gives_what_it_shows(tmp_path):
    assert_shows_what_it_gives("README.md", tmp_path)

    imported = (tmp_path / "import-me.csv").read_text()
    assert imported.count("/processed/") == 113


def test_readme_is_short():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_links_of_every_page_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert Path(page.parent, target).exists(), target
