"""`POST /upload`: a form with a CSV file → a stored request, answered before its work begins."""

import os
import re
import unicodedata
from typing import Annotated, ClassVar, Literal

from flask import Blueprint, Response, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from app.api.bodies import accepted_body, fault_bodies
from app.api.lazy import lazy_services
from app.api.parsing import Fields, NoParameters, read_fields, read_query, refuse_unknown
from app.api.waiting import wait_for_end
from app.catalog import BadUrl, absolute_url
from app.config import Settings
from app.errors import BadRequest, TooLarge
from app.intake import Report, Upload
from app.models import BatchOptions, OutputFormat
from app.outbound import Outbound

blueprint = Blueprint("upload", __name__)

MAX_FILENAME_CHARACTERS = 255
_HOW = "send a form with a file: curl -F file=@catalog.csv {}/upload"
_SIDE = Field(ge=1, le=65_535, description="a number of pixels from 1 to 65535")
_URL = Field(max_length=8_192, description="a URL of at most 8192 characters")


class UploadForm(Fields):
    """All fields but the file itself."""

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
    dry_run: Annotated[bool, Field(description="true or false")] = False

    def options(self, settings: Settings) -> BatchOptions:
        return BatchOptions(
            quality=self.quality or settings.image_quality,
            format=self.format or settings.output_format,
            max_width=self.max_width,
            max_height=self.max_height,
            image_columns=self.image_column,
            base_url=self.base_url,
        )


@blueprint.post("/upload")
def upload() -> ResponseReturnValue:
    read_query(NoParameters)
    lazy = lazy_services()
    file, form = _read_form(lazy.settings)
    services = lazy.get()
    sent = _upload(file, form, lazy.settings, services.outbound)
    if form.dry_run:
        return jsonify(_report_body(services.intake.check(sent)))
    request_id = services.intake.accept(sent)
    ended, headers = wait_for_end(services, request_id)
    if ended:
        return jsonify(ended), 200, headers
    return jsonify(accepted_body(request_id)), 202, headers | {"Location": f"/status/{request_id}"}


def _read_form(settings: Settings) -> tuple[FileStorage, UploadForm]:
    """Raises BadRequest and TooLarge."""
    how = _HOW.format(settings.base_url)
    if request.mimetype != "multipart/form-data":
        found = f"found {request.mimetype}" if request.mimetype else "found none"
        raise BadRequest(f"the Content-Type must be multipart/form-data ({found}); {how}")
    try:
        texts, files = request.form.to_dict(flat=False), request.files.to_dict(flat=False)
    except RequestEntityTooLarge as error:
        raise TooLarge(_too_large(settings)) from error
    return _read_file(texts, files, how, settings), read_fields(UploadForm, texts, "field")
