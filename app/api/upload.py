"""`POST /upload`: a form with a CSV file → a stored request, answered before its work begins."""

from typing import Annotated, Any, ClassVar, Literal

import structlog
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field

from app import intake
from app.api.bodies import accepted_body, fault_bodies
from app.api.described import AWAY, Reply, Sent, describe
from app.api.files import CSV, WORKBOOK
from app.api.forms import SentFile, read_form
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.owner import current_owner
from app.api.parsing import Fields, Flag, NoParameters, read_query
from app.api.rates import count_upload
from app.api.replies import Accepted, Report, Status
from app.api.waiting import MAX_WAIT_SECONDS, wait_for_end
from app.catalog import BadUrl, absolute_url
from app.config import Settings
from app.errors import BadRequest
from app.models import BatchOptions, FaultCode, OutputFormat, WebhookEvents
from app.outbound import Outbound

blueprint = Blueprint("upload", __name__)

_SIDE = Field(
    title="The picture is made to fit, never enlarged",
    ge=1,
    le=65_535,
    description="a number of pixels from 1 to 65535",
)
_KEY_CHARACTERS = 255
_URL = Field(
    max_length=8_192,
    description="a URL of at most 8192 characters",
    json_schema_extra={"format": "uri"},
)


class UploadForm(Fields):
    """The form but its file; None stands for the service's default."""

    may_repeat: ClassVar[frozenset[str]] = frozenset({"image_column"})

    webhook_url: Annotated[str | None, Field(title="Is told of the request's end"), _URL] = None
    quality: Annotated[
        int | None,
        Field(title="Of lossy output", ge=1, le=95, description="a whole number from 1 to 95"),
    ] = None
    format: Annotated[
        OutputFormat | None,
        Field(title="Of the output", description=f"one of {', '.join(OutputFormat)}"),
    ] = None
    max_width: Annotated[int | None, _SIDE] = None
    max_height: Annotated[int | None, _SIDE] = None
    image_column: Annotated[
        tuple[str, ...],
        Field(title="A header as written, instead of those that are known; may be sent repeatedly"),
    ] = ()
    base_url: Annotated[str | None, Field(title="Completes relative paths"), _URL] = None
    on_error: Annotated[
        Literal["skip", "reject"],
        Field(
            title="Whether rows with faults are left out, or refuse the upload",
            description="skip or reject",
        ),
    ] = "skip"
    dry_run: Annotated[Flag, Field(title="Only look at the file, and store nothing")] = "false"
    webhook_events: Annotated[
        WebhookEvents,
        Field(
            title="Told of the end, or of the start and each quarter too",
            description=f"one of {', '.join(WebhookEvents)}",
        ),
    ] = WebhookEvents.END


def _defaults(settings: Settings) -> dict[str, Any]:
    return {"quality": settings.image_quality, "format": settings.output_format}


def _examples(settings: Settings) -> dict[str, Any]:
    file = f"SKU,Images\n1,{settings.base_url}/samples/cat-240.jpg\n"
    options = {"format": OutputFormat.WEBP, "quality": 70, "max_width": 1_600}
    return {
        "catalogue": {"file": file},
        "options": {"file": file, **options},
        "dry run": {"file": file, "dry_run": "true"},
    }


@blueprint.post("/upload")
@describe(
    "requests",
    "Upload a catalogue",
    details="Answered once nothing of it can be lost any more, before its work begins.",
    sent=Sent(
        UploadForm,
        ("multipart/form-data",),
        file="CSV or XLSX, at most {settings.max_csv_bytes:,} bytes and "
        "{settings.max_csv_rows:,} rows",
        file_types=(CSV, WORKBOOK),
        defaults=_defaults,
        examples=_examples,
    ),
    headers={
        "Idempotency-Key": {
            "description": "the same upload with the same key is answered with the first's id",
            "schema": {"type": "string", "maxLength": _KEY_CHARACTERS},
        },
        "Prefer": {
            "description": f"wait=N: the answer may wait for the end, {MAX_WAIT_SECONDS} s at most",
            "schema": {"type": "string"},
            "example": "wait=10",
        },
    },
    replies={
        202: Reply("accepted", (Accepted,), headers={"Location": "as status_url"}),
        200: Reply(
            "with Prefer: wait=N the status document of what ended in time; a dry run's report",
            (Status, Report),
        ),
    },
    errors={
        400: {
            "error": "no valid image URL in 4 rows: correct the column 'Images', or name another "
            "with the option image_column",
            "faults": 1,
            "details": [
                {
                    "row": 4,
                    "line": 5,
                    "column": "Images",
                    "code": FaultCode.BAD_URL,
                    "message": "'ftp://shop.example/a.jpg' begins with ftp: but only http and "
                    "https are fetched",
                }
            ],
        },
        409: "this Idempotency-Key was used for another file or other fields; send a new key with "
        "a new upload",
        413: "the file is larger than MAX_CSV_BYTES={settings.max_csv_bytes} bytes: split it into "
        "several",
        429: "RATE_LIMIT allows 60 uploads in 60 s: try again later",
        **AWAY,
    },
)
def upload() -> ResponseReturnValue:
    read_query(NoParameters)
    count_upload()
    lazy = lazy_services()
    file, form = read_form(UploadForm, lazy.settings)
    services = lazy.get()
    sent = _upload(file, form, lazy.settings, services.outbound)
    if form.dry_run == "true":
        return jsonify(_report_body(services.intake.check(sent)))
    services.database.ping(DATABASE_SECONDS)  # storing has no deadline: a million rows take a while
    services.engine.check()
    request_id = services.intake.accept(sent)
    structlog.contextvars.bind_contextvars(request_id=request_id)
    ended, headers = wait_for_end(services, request_id)
    if ended:
        return jsonify(ended), 200, headers
    headers["Location"] = f"/status/{request_id}"
    return jsonify(accepted_body(request_id)), 202, headers


def _upload(
    file: SentFile, form: UploadForm, settings: Settings, outbound: Outbound
) -> intake.Upload:
    """Raises BadRequest for a webhook_url that may not be called."""
    own_receiver = f"{settings.base_url}/webhook"
    webhook_url = form.webhook_url
    if webhook_url and webhook_url != own_receiver:
        webhook_url = _callable_url(webhook_url, outbound)
    return intake.Upload(
        file=file.stream,
        filename=file.name,
        owner=current_owner(),
        options=_options(form, settings),
        webhook_url=webhook_url,
        refuse_faults=form.on_error == "reject",
        idempotency_key=_idempotency_key(),
        webhook_events=form.webhook_events,
    )


def _idempotency_key() -> str | None:
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > _KEY_CHARACTERS:
        raise BadRequest(f"Idempotency-Key: {len(key)} characters, {_KEY_CHARACTERS} are allowed")
    return key or None


def _callable_url(url: str, outbound: Outbound) -> str:
    """The URL as it is called, host and path in ASCII."""
    try:
        url = absolute_url(url, None)
        outbound.check(url)
    except (BadUrl, BadRequest) as error:
        raise BadRequest(f"webhook_url: {error}") from error
    return url


def _options(form: UploadForm, settings: Settings) -> BatchOptions:
    return BatchOptions(
        quality=form.quality or settings.image_quality,
        format=form.format or settings.output_format,
        max_width=form.max_width,
        max_height=form.max_height,
        image_columns=form.image_column,
        base_url=form.base_url,
    )


def _report_body(report: intake.Report) -> Report:
    return {
        "dry_run": True,
        "rows": report.rows,
        "images": report.images,
        "columns": report.columns,
        "faults": report.fault_count,
        "details": fault_bodies(report.faults),
    }
