"""docs/security.md names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "security.md").read_text()


def test_every_test_that_it_names_exists():
    named = re.findall(r"((?:page/)?test_\w+\.py|…)(?:::(\w+))?", TEXT)
    assert len(named) > 20

    module = ""
    for file, function in named:
        module = module if file == "…" else file
        assert f"def {function or 'test_'}" in (TESTS / module).read_text(), (module, function)
