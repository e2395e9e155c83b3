"""A log line is one line, and holds nothing that is nobody's business."""

import base64
import io
import json
import logging
import sys
from datetime import UTC, datetime

import pytest
import structlog

from app import logs
from app.config import PROJECT_DIR, Settings

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
HIDDEN = ["Hunter2!x", "Hunter2%21x", 'ann-"1"-key', SECRET, "pr0xypass"]


@pytest.fixture(params=["text", "json"])
def written(request, tmp_path, monkeypatch):
    """A function that returns what was logged, as the service logs; all is put back afterwards."""
    settings = Settings(
        _env_file=None,
        log_format=request.param,
        data_dir=tmp_path / "data",
        mongodb_uri="mongodb://me:Hunter2%21x@db",
        proxy_url="http://me:pr0xypass@proxy:3128",
        api_keys='ann:ann-"1"-key',
        webhook_secret=SECRET,
    )
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    logs.configure_logs(settings)
    structlog.configure(cache_logger_on_first_use=False)

    def line():
        return stream.getvalue()

    yield line
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def fail(message):
    try:
        raise KeyError("the cause")
    except KeyError as cause:
        raise RuntimeError(message) from cause


@pytest.mark.parametrize("source", ["ours", "a library's"])
def test_an_exception_is_told_in_one_line_with_its_place_and_cause(written, source):
    logger = structlog.get_logger("ours") if source == "ours" else logging.getLogger("theirs")
    try:
        fail("two\nlines")
    except RuntimeError:
        logger.exception("it failed")

    assert written().count("\n") == 1
    assert "it failed" in written()
    assert "RuntimeError: two" in written()
    assert "(at tests/test_logs.py:" in written()
    assert "fail < tests/test_logs.py:" in written()
    assert "from KeyError: 'the cause'" in written()
    assert "Traceback" not in written()
    assert "File " not in written()


def test_no_secret_and_no_folder_is_written_whoever_names_it(written, tmp_path):
    data, project = tmp_path / "data" / "mongodb", PROJECT_DIR / "app" / "api"
    said = f"{' '.join(HIDDEN)} in {data} and '{project}' at https://me:pw@host/a"
    try:
        fail(said)
    except RuntimeError as error:
        structlog.get_logger().error(said, field=said, exc_info=error)
    logging.getLogger("theirs").warning("%s", said)

    for hidden in (*HIDDEN, "me:pw", str(tmp_path), str(PROJECT_DIR)):
        assert hidden not in written()
    assert "in DATA_DIR/mongodb and './app/api' at https://***@host/a" in written()


def test_what_only_looks_like_a_folder_of_ours_stays(written):
    path = f"https://host{PROJECT_DIR}/a.jpg"
    structlog.get_logger().info("image", url=path)

    assert path in written()


def test_nobody_can_write_a_line_of_their_own(written):
    structlog.get_logger().info("request failed", path="/a\n2026-01-01 [info] all is well\r")

    assert written().count("\n") == 1
    assert "\r" not in written()


@pytest.mark.parametrize("source", ["ours", "a library's"])
def test_nobody_can_command_the_terminal_that_shows_the_log(written, source):
    path = "/a\x1b[2J\x1b]0;x\x07\x9b1m\u202etxt"
    try:
        fail(path)
    except RuntimeError:
        if source == "ours":
            structlog.get_logger().exception(f"it {path}", path=path)
        else:
            logging.getLogger("theirs").exception("it %s", path)

    assert written().removesuffix("\n").isprintable()
    assert "1b[2J" in written()


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_json_stays_json(written):
    structlog.get_logger().info("it", reason='C:\\ "quoted" ann-"1"-key')

    assert json.loads(written())["reason"] == 'C:\\ "quoted" ***'


@pytest.mark.parametrize("written", ["json"], indirect=True)
@pytest.mark.parametrize("source", ["ours", "a library's"])
def test_a_line_of_json_says_when_where_how_bad_about_what_and_why(written, source):
    structlog.contextvars.bind_contextvars(request_id="87e98b85")
    logger = structlog.get_logger("there") if source == "ours" else logging.getLogger("there")
    try:
        fail("why")
    except RuntimeError:
        logger.exception("what")
    structlog.contextvars.clear_contextvars()

    line = json.loads(written())
    assert line.pop("exception").startswith("RuntimeError: why (at tests/test_logs.py:")
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is UTC
    assert line == {"event": "what", "level": "error", "logger": "there", "request_id": "87e98b85"}
