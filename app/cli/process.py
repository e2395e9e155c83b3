"""`flask process FILE --out DIR`: a catalogue and its images into a folder, without a server."""

import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import click

from app.catalog import BadUrl, SheetReader, absolute_url
from app.cli import local_run
from app.cli.endings import end_at_once, errors_told, show_faults
from app.cli.options import upload_options
from app.cli.progress import progress_shown
from app.cli.publishing import IMAGES
from app.cli.summary import Summary, report_of, show_report
from app.cli.tally import read_tally
from app.config import Settings, read_settings
from app.intake import Report, Upload, check
from app.logs import configure_logs
from app.models import BatchOptions, OutputFormat

OWNER = "terminal"
KEY = "run"
"""The folder's database has one request, which the next run into the folder finds by this."""


def _base_url(_context: click.Context, _option: click.Parameter, text: str | None) -> str:
    """What links begin with: empty, or ending with a slash."""
    if not text or text.startswith("/"):
        return text.rstrip("/") + "/" if text else ""
    try:
        return absolute_url(text, None).rstrip("/") + "/"
    except BadUrl as error:
        raise click.BadParameter(f"{error}, or write a path that begins with /") from error


@click.command()
@upload_options
@click.option(
    "--out",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Gets <FILE>-compressed.csv and images/; is made if it isn't there",
)
@click.option(
    "--base-url",
    metavar="URL",
    callback=_base_url,
    help="Where DIR will be reached: the CSV's links begin with it [default: relative to DIR]",
)
@click.option("--anew", is_flag=True, help="Forget what an interrupted run has done")
def process(
    file: Path, folder: Path, base_url: str, anew: bool, as_json: bool, **asked: Any
) -> None:
    """Compress the images that FILE, a CSV or XLSX, names, and write them and a CSV into DIR.

    The pipeline of the service, without the service; one that runs beside it is left alone. What
    an interrupted run has done is kept in DIR/.pressroom, and the same command goes on from there.

    Exit codes: 0 all done, 1 could not finish, 2 wrong usage or a file that can't be used,
    3 finished with failed images or with rows left out for faults.
    """
    with file.open("rb") as opened:
        with errors_told(as_json=as_json):
            settings = read_settings()
            upload = _upload(opened, file.name, asked, settings)
            report = check(upload, SheetReader(), settings.max_csv_rows)
        if asked["dry_run"]:
            sys.exit(show_report(report_of(report), as_json=as_json))
        with errors_told(as_json=as_json, end=end_at_once):
            configure_logs(settings.model_copy(update={"log_level": "ERROR"}))
            summary = _run(upload, report, folder, base_url, settings, as_json, anew)
    summary.show(as_json=as_json)
    sys.exit(summary.exit_code)


def _upload(file: BinaryIO, name: str, asked: dict[str, Any], settings: Settings) -> Upload:
    options = BatchOptions(
        quality=asked["quality"] or settings.image_quality,
        format=OutputFormat(asked["format"] or settings.output_format),
        max_width=asked["max_width"],
        max_height=asked["max_height"],
        image_columns=asked["image_column"],
        base_url=asked["source_base_url"],
    )
    return Upload(
        file=file,
        filename=name,
        owner=OWNER,
        options=options,
        refuse_faults=asked["on_error"] == "reject",
        idempotency_key=KEY,
    )


def _run(
    upload: Upload,
    report: Report,
    folder: Path,
    base_url: str,
    settings: Settings,
    as_json: bool,
    anew: bool,
) -> Summary:
    began_at = time.monotonic()
    with progress_shown(as_json=as_json) as progress:
        if report.fault_count and not as_json:
            progress.say("Rows with these faults are left out:")
            show_faults(report_of(report)["details"], report.fault_count)
        outcome = local_run.run(upload, folder, base_url, settings, progress, anew=anew)
    seconds = time.monotonic() - began_at
    counts = outcome.counts
    options = upload.options
    return Summary(
        status=outcome.batch.status,
        tally=read_tally(outcome.output_csv, options.image_columns, options.base_url),
        images=outcome.batch.total,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        bytes_in=counts.bytes_in,
        bytes_out=counts.bytes_out,
        seconds=seconds,
        images_per_second=outcome.done_now / seconds,
        files={
            "output_csv": str(outcome.output_csv),
            "images_dir": str(folder / IMAGES),
        },
    )
