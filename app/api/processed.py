"""`GET /processed/<id>/<name>`: one compressed image, whether the database is there or not."""

import re

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.api.batches import is_request_id
from app.api.described import Reply, describe
from app.api.files import BAD_RANGE, file_reply, in_ranges, place_to_read, unchanged_reply
from app.api.lazy import lazy_services
from app.api.owner import open_to_all
from app.api.parsing import NoParameters, read_query
from app.compress import MEDIA_TYPES
from app.errors import NotFound

blueprint = Blueprint("processed", __name__)

_NAME = re.compile(r"[0-9a-z][0-9a-z-]{0,127}\.([0-9a-z]{3,4})")


@blueprint.get("/processed/<request_id>/<name>")
@describe(
    "results",
    "One compressed image",
    details="What the output CSV links to; good for ever, since its name holds its bytes' hash.",
    path={
        "name": {
            "description": "as in the status document's path",
            "schema": {"type": "string"},
            "example": "1-1-a-9f2c41d07ab3.jpg",
        }
    },
    replies=in_ranges(Reply("the image", media_types=tuple(MEDIA_TYPES.values())))
    | {304: Reply("If-None-Match has its ETag", media_types=())},
    errors={
        404: "Image not found",
        503: "the bucket pictures does not answer: see that AWS_ENDPOINT_URL can be reached",
        **BAD_RANGE,
    },
)
@open_to_all
def show_image(request_id: str, name: str) -> ResponseReturnValue:
    """The name carries the hash of the bytes: it serves as ETag, is good for ever, and whoever
    knows it may see the picture, but no other of the request."""
    read_query(NoParameters)
    media_type = _media_type(request_id, name)
    storage, key = lazy_services().storage, f"processed/{request_id.lower()}/{name}"
    unchanged = unchanged_reply(media_type, etag=name)
    try:
        with place_to_read():
            if unchanged and storage.has(key):
                reply = unchanged
            else:
                reply = file_reply(storage.open(key), media_type, etag=name)
    except NotFound as error:
        raise NotFound("Image not found") from error
    reply.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return reply


def _media_type(request_id: str, name: str) -> str:
    """The type that was really written. Raises NotFound for what can be no image of ours."""
    match = _NAME.fullmatch(name) if is_request_id(request_id) else None
    if match is None or match[1] not in MEDIA_TYPES:
        raise NotFound("Image not found")
    return MEDIA_TYPES[match[1]]
