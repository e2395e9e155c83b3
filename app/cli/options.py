"""What both commands take: the options of an upload, under the names of the API's fields.

`source_base_url` is the API's `base_url`, since `flask process` has another `--base-url`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.models import OutputFormat

Command = Callable[..., Any]

_SIDE = click.IntRange(1, 65_535)
_OPTIONS = [
    click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    click.option(
        "--quality", type=click.IntRange(1, 95), help="Of lossy output [default: IMAGE_QUALITY, 50]"
    ),
    click.option(
        "--format",
        type=click.Choice([each.value for each in OutputFormat]),
        help="Output format [default: OUTPUT_FORMAT, auto]",
    ),
    click.option("--max-width", type=_SIDE, help="Pixels to fit inside; never enlarged"),
    click.option("--max-height", type=_SIDE, help="Pixels to fit inside; never enlarged"),
    click.option(
        "--image-column",
        multiple=True,
        metavar="HEADER",
        help="Header of a column of image URLs, as written; may repeat [default: found by name]",
    ),
    click.option(
        "--source-base-url",
        metavar="URL",
        help="Completes relative image paths in FILE (the API's base_url)",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["skip", "reject"]),
        default="skip",
        show_default=True,
        help="Leave rows with faults out and report them, or refuse the whole file",
    ),
    click.option("--dry-run", is_flag=True, help="Only check FILE; store and write nothing"),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output"),
]


def upload_options(command: Command) -> Command:
    """Gives a command the argument FILE and the options of an upload."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
