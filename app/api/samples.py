"""`GET /samples/<name>`: the sample photographs, and a catalogue whose URLs lead to them."""

from flask import Blueprint, Response, send_file
from flask.typing import ResponseReturnValue

from app.api.described import Reply, describe
from app.api.files import BAD_RANGE, CSV, in_ranges
from app.api.lazy import lazy_services
from app.api.owner import open_to_all
from app.api.parsing import NoParameters, read_query
from app.compress import MEDIA_TYPES

blueprint = Blueprint("samples", __name__)

_WRITTEN_FOR = b"http://127.0.0.1:8000"
"""What the URLs of samples/catalog.csv begin with: the default BASE_URL."""
_MEDIA_TYPES = MEDIA_TYPES | {"bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff"}


@blueprint.get("/samples/<name>")
@describe(
    "service",
    "A sample photograph, or the catalogue of them",
    path={
        "name": {
            "description": "catalog.csv, or a name in its URLs",
            "schema": {"type": "string"},
            "example": "catalog.csv",
        }
    },
    replies=in_ranges(Reply("the file", media_types=(CSV, *dict.fromkeys(_MEDIA_TYPES.values()))))
    | {304: Reply("If-None-Match has its ETag", media_types=())},
    errors={404: "there is no sample cat.jpg", **BAD_RANGE},
)
@open_to_all
def show_sample(name: str) -> ResponseReturnValue:
    read_query(NoParameters)
    lazy = lazy_services()
    path = lazy.samples.path(name)
    if path.suffix == ".csv":
        catalog = path.read_bytes().replace(_WRITTEN_FOR, lazy.settings.base_url.encode())
        return Response(catalog, mimetype=CSV)
    return send_file(path, mimetype=_MEDIA_TYPES[path.suffix[1:]])
