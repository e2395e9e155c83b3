"""`POST /upload`: a form with a CSV file → a stored request, answered before its work begins."""

from typing import Annotated, Any, ClassVar, Literal

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field

from app.api.bodies import accepted_body, fault_bodies
from app.api.forms import SentFile, read_form
from app.api.lazy import DATABASE_SECONDS, lazy_services
from app.api.owner import current_owner
from app.api.parsing import Fields, Flag, NoParameters, read_query
from app.api.rates import count_upload
from app.api.waiting import wait_for_end
from app.catalog import BadUrl, absolute_url
from app.config import Settings
from app.errors import BadRequest
from app.intake import Report, Upload
from app.models import BatchOptions, OutputFormat, WebhookEvents
from app.outbound import Outbound

blueprint = Blueprint("upload", __name__)

_SIDE = Field(ge=1, le=65_535, description="a number of pixels from 1 to 65535")
_KEY_CHARACTERS = 255
_URL = Field(max_length=8_192, description="a URL of at most 8192 characters")


class UploadForm(Fields):
    """The form but its file; None stands for the service's default."""

    may_repeat: ClassVar[frozenset[str]] = frozenset({"image_column"})

    webhook_url: Annotated[str | None, _URL] = None
    quality: Annotated[
        int | None, Field(ge=1, le=95, description="a whole number from 1 to 95")
    ] = None
    format: Annotated[
        OutputFormat | None, Field(description=f"one of {', '.join(OutputFormat)}")
    ] = None
    max_width: Annotated[int | None, _SIDE] = None
    max_height: Annotated[int | None, _SIDE] = None
    image_column: tuple[str, ...] = ()
    base_url: Annotated[str | None, _URL] = None
    on_error: Annotated[Literal["skip", "reject"], Field(description="skip or reject")] = "skip"
    dry_run: Flag = "false"
    webhook_events: Annotated[
        WebhookEvents, Field(description=f"one of {', '.join(WebhookEvents)}")
    ] = WebhookEvents.END


@blueprint.post("/upload")
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
    ended, headers = wait_for_end(services, request_id)
    if ended:
        return jsonify(ended), 200, headers
    headers["Location"] = f"/status/{request_id}"
    return jsonify(accepted_body(request_id)), 202, headers


def _upload(file: SentFile, form: UploadForm, settings: Settings, outbound: Outbound) -> Upload:
    """Raises BadRequest for a webhook_url that may not be called."""
    own_receiver = f"{settings.base_url}/webhook"
    webhook_url = form.webhook_url
    if webhook_url and webhook_url != own_receiver:
        webhook_url = _callable_url(webhook_url, outbound)
    return Upload(
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


def _report_body(report: Report) -> dict[str, Any]:
    return {
        "dry_run": True,
        "rows": report.rows,
        "images": report.images,
        "columns": report.columns,
        "faults": report.fault_count,
        "details": fault_bodies(report.faults),
    }
