"""How far a job is, on stderr: a bar on a terminal, else plain lines, or nothing beside --json."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

LINE_SECONDS = 10


class Progress(Protocol):
    """Shown by one thread. `done` never falls; `total` may be known only later."""

    def show(self, done: int, total: int, failed: int) -> None:
        """How many images have been dealt with, the failed among them."""

    def say(self, text: str) -> None:
        """A sentence in between."""


class Bar:
    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def show(self, done: int, total: int, failed: int) -> None:
        bar = self._bar
        if bar is None:  # what an interrupted run had done says nothing of the speed
            columns = shutil.get_terminal_size().columns  # some terminals tell 0
            bar = self._bar = tqdm(
                total=total, initial=done, desc="Compressing", unit="image", ncols=columns
            )
        if failed:
            bar.set_postfix_str(f"{failed} failed", refresh=False)
        bar.update(done - bar.n)

    def say(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Lines:
    def __init__(self) -> None:
        self._told_at = float("-inf")

    def show(self, done: int, total: int, failed: int) -> None:
        if time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            self.say(f"{done:,} of {total:,} images, {failed:,} failed")

    def say(self, text: str) -> None:
        click.echo(text, err=True)


class Silence:
    def show(self, done: int, total: int, failed: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass


@contextmanager
def progress_shown(*, as_json: bool) -> Iterator[Progress]:
    """The way that suits where stderr goes."""
    if not sys.stderr.isatty():
        yield Silence() if as_json else Lines()
        return
    bar = Bar()
    try:
        with logging_redirect_tqdm([logging.getLogger()]):
            yield bar
    finally:
        bar.close()
