"""The body of `POST /upload` → its file and its fields; what is no such form → BadRequest.

Werkzeug keeps a file above 500 KB in a temporary file, so that memory does not grow with uploads.
"""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from flask import request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from app.api.parsing import Model, read_fields, refuse_unknown
from app.config import Settings
from app.errors import BadRequest, StorageUnavailable, TooLarge

MAX_FILENAME_CHARACTERS = 255
_FILE = "file"


@dataclass(frozen=True, slots=True)
class SentFile:
    """The uploaded file; its name is for people, and never a path here."""

    stream: BinaryIO
    name: str


def read_form(model: type[Model], settings: Settings) -> tuple[SentFile, Model]:
    """The present request's file and fields. Raises BadRequest, TooLarge, StorageUnavailable."""
    example = f"send a form: curl -F file=@catalog.csv {settings.base_url}/upload"
    if request.mimetype != "multipart/form-data":
        found = request.mimetype or "none"
        raise BadRequest(f"the Content-Type must be multipart/form-data, found {found}; {example}")
    texts, files = _read_parts(settings)
    refuse_unknown([*texts, *files], (_FILE, *model.model_fields), "field")
    file = _only_file(texts, files, example)
    fields = read_fields(model, texts, "field")
    _check_size(file, settings.max_csv_bytes)
    return SentFile(cast(BinaryIO, file.stream), shown_name(file.filename or "")), fields


def shown_name(sent: str) -> str:
    """The last component of a name as sent, without control characters."""
    name = sent.replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp"))
    return name.strip()[:MAX_FILENAME_CHARACTERS] or "catalog.csv"


def _read_parts(settings: Settings) -> tuple[dict[str, list[str]], dict[str, list[FileStorage]]]:
    try:
        return request.form.to_dict(flat=False), request.files.to_dict(flat=False)
    except RequestEntityTooLarge as error:
        if (request.content_length or 0) > (request.max_content_length or 0):
            raise TooLarge(_file_too_large(settings.max_csv_bytes)) from error
        raise TooLarge(
            f"the form has more than {request.max_form_parts} fields, or one with more than "
            f"{request.max_form_memory_size:,} bytes beside the file"
        ) from error
    except OSError as error:
        raise StorageUnavailable(f"the disk cannot take the upload: {error.strerror}") from error


def _only_file(
    texts: Mapping[str, list[str]], files: Mapping[str, Sequence[FileStorage]], example: str
) -> FileStorage:
    misplaced = next((name for name in files if name != _FILE), None)
    if misplaced:
        raise BadRequest(f"the field {misplaced} was sent as a file: send it as text")
    if _FILE in texts:
        raise BadRequest(f"the field file was sent as text: {example} (note the @)")
    sent = files.get(_FILE, ())
    if not sent:
        raise BadRequest(f"the form has no file, or was cut off: {example}")
    if len(sent) > 1:
        raise BadRequest(f"the field file was sent {len(sent)} times: send one file a request")
    if not sent[0].filename:
        raise BadRequest(f"the field file has no file name, as if none were chosen: {example}")
    return sent[0]


def _check_size(file: FileStorage, max_bytes: int) -> None:
    size = file.stream.seek(0, os.SEEK_END)
    file.stream.seek(0)
    if size > max_bytes:
        raise TooLarge(_file_too_large(max_bytes))


def _file_too_large(max_bytes: int) -> str:
    return f"the file is larger than MAX_CSV_BYTES={max_bytes} bytes: split it into several"
