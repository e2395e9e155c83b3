"""`flask submit FILE --to URL`: a catalogue to a running service, followed until it is done."""

import sys
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from app.archive import portable_name
from app.cli.endings import Unfinished, errors_told, show_json
from app.cli.options import upload_options
from app.cli.progress import Progress, progress_shown
from app.cli.remote import GivenUp, Remote, safe_name
from app.cli.summary import Summary, show_report
from app.cli.tally import read_tally

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0
_HAS_OUTPUT = ("completed", "cancelled")


def _service_url(_context: click.Context, _option: click.Parameter, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise click.BadParameter(f"{text!r} is not a URL such as http://127.0.0.1:8000")
    return text.rstrip("/")


@click.command()
@upload_options
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    callback=_service_url,
    help="Where the service is, such as http://127.0.0.1:8000",
)
@click.option(
    "--out",
    default=".",
    metavar="PATH",
    help="File for the output CSV, or folder: it exists, or ends in / [default: this folder]",
)
@click.option("--zip", "wants_zip", is_flag=True, help="Fetch the images too, as one ZIP beside it")
@click.option(
    "--api-key",
    envvar="PRESSROOM_API_KEY",
    metavar="KEY",
    help="Better in PRESSROOM_API_KEY: other users of this machine can see options",
)
@click.option("--webhook-url", metavar="URL", help="Is told of the end")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Follows the earlier upload of FILE with that key and these options, if there was one",
)
@click.option("--detach", is_flag=True, help="Print id and status URL, and don't wait")
def submit(file: Path, url: str, as_json: bool, **asked: Any) -> None:
    """Upload FILE, a CSV or XLSX, to a running service, and fetch the output CSV when it is done.

    While the service is busy or restarts it is waited for, five minutes at most. After Ctrl-C the
    request goes on at the service.

    Exit codes: 0 all done, 1 could not finish, 2 wrong usage or a file that can't be used,
    3 finished with failed images or with rows left out for faults.
    """
    with errors_told(as_json=as_json):
        _prepare_out(asked["out"], file)
    with errors_told(as_json=as_json), progress_shown(as_json=as_json) as progress:
        job = _Job(Remote(url, asked["api_key"], progress.say), file, asked, progress)
        summary = job.run(as_json=as_json)
    summary.show(as_json=as_json)
    sys.exit(summary.exit_code)


class _Job:
    def __init__(self, remote: Remote, file: Path, asked: dict[str, Any], progress: Progress):
        self._remote = remote
        self._file = file
        self._asked = asked
        self._progress = progress
        self._key = asked["idempotency_key"] or str(uuid.uuid4())
        self._began_at = time.monotonic()

    def run(self, *, as_json: bool) -> Summary:
        """Exits where nothing is to be followed. Raises Unfinished, also when Ctrl-C ends it."""
        self._remote.reach()
        if self._asked["dry_run"]:
            sys.exit(show_report(self._upload(), as_json=as_json))
        how = f"the same command with --idempotency-key {self._key} goes on with it"
        try:
            request_id = self._upload()["request_id"]
            if self._asked["detach"]:
                _show_accepted(request_id, f"{self._remote.url}/status/{request_id}", as_json)
                sys.exit(0)
            return self._fetch_result(self._follow(request_id))
        except GivenUp as error:
            raise Unfinished(f"{error}; {how}") from error
        except KeyboardInterrupt as error:
            raise Unfinished(f"interrupted, and the service goes on; {how}") from error

    def _upload(self) -> dict[str, Any]:
        names = ("quality", "format", "max_width", "max_height", "image_column", "on_error")
        fields = {name: self._asked[name] for name in (*names, "webhook_url")}
        fields["base_url"] = self._asked["source_base_url"]
        fields["dry_run"] = "true" if self._asked["dry_run"] else None
        sent = {name: value for name, value in fields.items() if value}
        with self._file.open("rb") as file:
            return self._remote.upload(file, self._file.name, sent, self._key)

    def _follow(self, request_id: str) -> dict[str, Any]:
        """The status document of the end, looked for less often with time."""
        pause_seconds = SHORTEST_PAUSE_SECONDS
        while True:
            status = self._remote.status(request_id)
            counts = status["progress"]
            done = counts["total"] - counts["remaining"]
            self._progress.show(done, counts["total"], counts["failed"])
            if status["status"] != "processing":
                return status
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.3, LONGEST_PAUSE_SECONDS)

    def _fetch_result(self, status: dict[str, Any]) -> Summary:
        if status["status"] not in _HAS_OUTPUT:
            raise Unfinished(f"the request has failed: {status['error']}")
        path = f"/download/{status['request_id']}"
        output_csv = self._remote.download(path, self._place_of_csv)
        files = {"output_csv": str(output_csv)}
        if self._asked["wants_zip"]:
            place = partial(self._place_in, output_csv.parent, ending=".zip")
            files["images_zip"] = str(self._remote.download(f"{path}/images.zip", place))
        return self._summary(status, output_csv, files)

    def _place_of_csv(self, sent_name: str) -> Path:
        out = Path(self._asked["out"])
        if _is_folder(self._asked["out"]):
            return self._place_in(out, sent_name, ending=".csv")
        return self._told_if_there(out)

    def _place_in(self, folder: Path, sent_name: str, *, ending: str) -> Path:
        """Where a file goes whose name a service chose; FILE itself is never its place."""
        fallback = portable_name(self._file.stem, f"-compressed{ending}")
        target = folder / safe_name(sent_name, ending, fallback)
        if target.exists() and target.samefile(self._file):
            target = folder / fallback
        return self._told_if_there(target)

    def _told_if_there(self, target: Path) -> Path:
        if target.exists():
            self._progress.say(f"Replacing {target}, which was there before")
        return target

    def _summary(self, status: dict[str, Any], output_csv: Path, files: dict[str, str]) -> Summary:
        counts = status["progress"]
        columns, base_url = self._asked["image_column"], self._asked["source_base_url"]
        return Summary(
            status=status["status"],
            request_id=status["request_id"],
            tally=read_tally(output_csv, columns, base_url),
            images=counts["total"],
            completed=counts["completed"],
            failed=counts["failed"],
            cancelled=counts["cancelled"],
            bytes_in=counts["bytes_in"],
            bytes_out=counts["bytes_out"],
            seconds=time.monotonic() - self._began_at,
            images_per_second=counts["images_per_second"],
            files=files,
        )


def _is_folder(out: str) -> bool:
    return out.endswith("/") or Path(out).is_dir()


def _prepare_out(out: str, file: Path) -> None:
    """Before anything is sent, so that the result is not refused a place in the end."""
    path = Path(out)
    if not _is_folder(out) and path.exists() and path.samefile(file):
        raise click.UsageError(f"--out {out} is FILE itself: choose another")
    (path if _is_folder(out) else path.parent).mkdir(parents=True, exist_ok=True)


def _show_accepted(request_id: str, status_url: str, as_json: bool) -> None:
    if as_json:
        show_json({"request_id": request_id, "status_url": status_url})
    else:
        click.echo(f"{request_id}\n{status_url}")
