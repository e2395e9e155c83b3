"""docs/shops.md: what it shows as read is read, of every export there is."""

import re
import shutil

from tests.consoles import assert_shows_what_it_gives, needs_curl
from tests.service_process import PROJECT

EXPORTS = PROJECT / "tests" / "exports"


def page():
    return (PROJECT / "docs" / "shops.md").read_text()


@needs_curl
def test_the_pages_commands_read_what_it_shows(tmp_path):
    shutil.copytree(EXPORTS, tmp_path / "tests" / "exports")

    assert_shows_what_it_gives("docs/shops.md", tmp_path, least=6)


def test_every_export_is_on_the_page():
    shown = re.findall(r"@tests/exports/(\S+)", page())

    assert set(shown) == {path.name for path in EXPORTS.iterdir()}


def test_the_table_names_the_options_that_the_commands_send():
    """Beside `image_column`, which is a matter of the file."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", page(), re.MULTILINE)
    options = {shop.split(",")[0]: set(re.findall(r"`(\w+)", cell)) for shop, cell in rows[2:]}
    assert len(options) == 5
    for shop, expected in options.items():
        section = re.search(rf"^## {shop}.*?(?=^## |\Z)", page(), re.DOTALL | re.MULTILINE)[0]
        sent = set(re.findall(r"-F (\w+)=", section)) - {"file", "dry_run", "image_column"}
        assert sent == expected, shop
