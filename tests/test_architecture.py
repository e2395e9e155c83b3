"""Who may know what: import directions, and libraries that one module alone may know."""

import ast
import re
from pathlib import Path

import pytest

APP = Path(__file__).parents[1] / "app"
MODULES = sorted(APP.rglob("*.py"))

ONLY_IN = {
    "flask": ("app/api/", "app/web/", "app/cli/", "app/__init__.py", "app/server.py"),
    "werkzeug": ("app/api/", "app/web/", "app/__init__.py"),
    "PIL": ("app/compress",),
    "pymongo": ("app/database/",),
    "bson": ("app/database/",),
    "pycurl": ("app/outbound",),
    "requests": ("app/cli/", "app/demo"),
    "urllib3": ("app/cli/form.py",),
    "click": ("app/cli/",),
    "tqdm": ("app/cli/", "app/demo.py"),
    "waitress": ("app/receiving.py", "app/server.py"),
    "apispec": ("app/api/openapi.py",),
    "apispec_webframeworks": ("app/api/openapi.py",),
    "flask_swagger_ui": ("app/api/docs.py",),
    "pydantic": ("app/config.py", "app/demo", "app/logs.py", "app/api/"),
    "standardwebhooks": ("app/webhooks.py",),
    "stream_zip": ("app/archive.py",),
    "python_calamine": ("app/catalog/sheet_reader.py",),
    "celery": ("app/engine/celery.py",),
    "kombu": ("app/engine/celery.py",),
    "xlsxwriter": ("app/catalog/workbook_writing.py",),
    "prometheus_client": ("app/metrics/text.py",),
    "obstore": ("app/storage/s3.py",),
}

LAYERS = [
    {"errors", "every", "fetch_headers", "keys", "models", "scratch"},
    {
        "addresses",
        "archive",
        "budget",
        "cancelling",
        "catalog",
        "coding",
        "compress",
        "config",
        "database",
        "dispatch",
        "hosts",
        "logs",
        "metrics",
        "outbound",
        "receiving",
    },
    {"storage", "engine", "sources"},
    {"exports", "webhooks", "removal", "reuse", "solo"},
    {"milestones"},
    {"making"},
    {"under_way"},
    {"segment_run"},
    {"reopening"},
    {"pipeline", "intake"},
    {"control"},
    {"sweeper"},
    {"services"},
    {"cli"},
    {"api", "worker"},
    {"celery_worker", "demo_fleet", "demo_bucket"},
    {"demo", "server"},
    {"serving"},
]
"""From what knows nobody to what may know all: a module imports from its own layer or below."""


def imports(path):
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path):
    return path.relative_to(APP.parent).as_posix()


def part_of(module):
    """`app.catalog.cells` → `catalog`; None for the factory in `app` itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "app" and len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_library_is_known_only_where_it_belongs(path):
    for module in imports(path):
        allowed = ONLY_IN.get(module.partition(".")[0])
        if allowed:
            assert name_of(path).startswith(allowed), f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path):
    own = part_of(name_of(path).removesuffix(".py").replace("/", "."))
    if own in (None, "__init__"):
        return
    rank = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    for module in imports(path):
        part = part_of(module)
        if part is not None:
            assert rank.get(part, 0) <= rank[own], f"{name_of(path)} imports {module}"


def test_every_module_is_imported_by_another():
    entries = {
        "app",
        "app.worker",
        "app.celery_worker",
        "app.database.backup",
        "app.catalog.sheet_reader",
    }
    imported = {module for path in [*MODULES, APP.parent / "run.py"] for module in imports(path)}
    for path in MODULES:
        module = name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        assert module in imported | entries, f"nobody imports {module}"


def listed():
    """Layer and file of every module that the table of docs/architecture.md names, line by line."""
    page = (APP.parent / "docs" / "architecture.md").read_text()
    for layer, files in re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE):
        folder, names = re.fullmatch(r"(?:`(\w+)/`: )?(.*)", files).groups()
        yield from ((int(layer), folder, name) for name in re.findall(r"`(\w+)`", names))


def test_the_page_names_every_file_and_none_that_is_not_there():
    named = [
        f"app/{folder}/{name}.py" if folder else f"app/{name}.py" for _, folder, name in listed()
    ]
    files = {name_of(path) for path in MODULES if path.name != "__init__.py"}

    assert set(named) == files
    assert len(named) == len(files)


def test_the_page_has_the_layers_in_their_order():
    rank = {part: number for number, layer in enumerate(LAYERS, start=1) for part in layer}
    layers = [layer for layer, _, _ in listed()]

    assert layers == sorted(layers)
    assert all(layer == rank[folder or name] for layer, folder, name in listed())
