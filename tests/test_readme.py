"""README's curl session, run word for word against the real service."""

import re
from pathlib import Path

from tests.consoles import assert_shows_what_it_gives, needs_curl
from tests.service_process import PROJECT


@needs_curl
def test_the_curl_session_gives_what_it_shows(tmp_path):
    assert_shows_what_it_gives("README.md", tmp_path)

    imported = (tmp_path / "import-me.csv").read_text()
    assert imported.count("/processed/") == 113


def test_readme_is_short_and_its_links_lead_somewhere():
    text = (PROJECT / "README.md").read_text()

    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert Path(PROJECT, target).exists(), target
