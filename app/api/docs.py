"""`GET /openapi.json`: what the API takes and answers. `GET /docs`: the same, to be read and tried.

Swagger UI comes with the package flask-swagger-ui; nothing is loaded from elsewhere.
"""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, current_app, jsonify, send_file
from flask.typing import ResponseReturnValue

from app.api.described import JSON, Reply, Schema, describe, undescribed
from app.api.lazy import lazy_services
from app.api.openapi import document_of
from app.api.parsing import NoParameters, read_query
from app.errors import NotFound

blueprint = Blueprint("docs", __name__)

_HTML = "text/html"
_FOLDER = Path(flask_swagger_ui.__file__).parent / "dist"
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Its own scripts alone; Swagger UI draws its icons as data."""
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pressroom API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="api"></div>
<noscript>Without JavaScript, read <a href="/openapi.json">openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """\
// Else a form is filled with what its schemas allow: images of one pixel, a foreign webhook_url.
const LeaveOut = () => ({
  wrapComponents: {
    JsonSchemaForm: (Original, { React }) => (props) => {
      const isNew = React.useRef(true);
      React.useEffect(() => { isNew.current = false; }, []);
      const isInvented = isNew.current && props.dispatchInitialValue && !props.required &&
        props.schema.get("default") === undefined;
      return React.createElement(Original, isInvented ? { ...props, value: "" } : props);
    }
  }
});
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [LeaveOut]
});
"""


@blueprint.get("/openapi.json")
@describe(
    "service",
    "This document",
    replies={200: Reply("OpenAPI 3.1", media_types=(JSON,))},
)
def show_document() -> ResponseReturnValue:
    read_query(NoParameters)
    return jsonify(_document())


@blueprint.get("/docs")
@describe(
    "service",
    "This document, to be read and tried in a browser",
    replies={200: Reply("a page", media_types=(_HTML,))},
)
def show_docs() -> ResponseReturnValue:
    read_query(NoParameters)
    reply = Response(_PAGE, mimetype=_HTML)
    reply.headers["Content-Security-Policy"] = _POLICY
    return reply


@blueprint.get("/docs/<name>")
@undescribed("what /docs loads")
def show_asset(name: str) -> ResponseReturnValue:
    read_query(NoParameters)
    if name == "start.js":
        return Response(_START, mimetype="text/javascript")
    if name not in _ASSETS:
        raise NotFound("there is nothing of that name here; the page is /docs")
    reply = send_file(_FOLDER / name, mimetype=_ASSETS[name])
    reply.headers["Cache-Control"] = "private, max-age=3600"
    return reply


def _document() -> Schema:
    """Made at the first call, when all routes are there; another thread may make the same."""
    made: dict[str, Schema] = current_app.extensions.setdefault("pressroom_openapi", {})
    if "document" not in made:
        made["document"] = document_of(current_app, lazy_services().settings)
    return made["document"]
