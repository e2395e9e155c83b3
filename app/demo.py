"""`python run.py --demo`: one whole job on the sample photographs, over the real HTTP API.

The service runs in this process on a free port, with a private MongoDB and folders of its own under
`.data/demo`, whatever `.env` says; with ENGINE=celery on a Redis, an
S3 server and a worker of its own. Exit code
0 only when everything that it prints is true.
"""

import base64
import csv
import io
import secrets
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from pydantic import SecretStr
from tqdm import tqdm

from app import create_app
from app.config import PROJECT_DIR, Settings
from app.demo_fleet import what_it_needs
from app.logs import configure_logs
from app.server import listen, make_server

EXPECTED_FAILURES = {
    "missing.jpg": "http_404",
    "not-a-picture.jpg": "not_an_image",
    "truncated.jpg": "truncated",
}
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60
SHOWN_ROWS = 5


def run_demo() -> int:
    """The exit code; a line on stderr says what was not as it should be."""
    folder = PROJECT_DIR / ".data" / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        host="127.0.0.1",
        port=_free_port(),
        base_url="",
        api_keys=SecretStr(""),
        rate_limit="",
        worker_processes=0,
        storage_url="",  # as is the broker below, replaced by one of the demo's own
        s3_public_url="",
        aws_access_key_id="",
        aws_secret_access_key=SecretStr(""),
        aws_session_token=SecretStr(""),
        celery_broker_url=SecretStr("redis://127.0.0.1:6379/0"),  # replaced by one of its own
        mongodb_uri=SecretStr(""),
        data_dir=folder,
        upload_dir=folder / "uploads",
        processed_dir=folder / "processed",
        output_dir=folder / "outputs",
        webhook_secret=SecretStr("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()),
        min_free_bytes=0,
        log_level="WARNING",
    )
    configure_logs(settings)
    try:
        with what_it_needs(settings) as settings, _service(settings):
            _run_job(settings.base_url)
    except (AssertionError, requests.RequestException) as error:
        sys.stderr.write(f"The demo failed: {error}\n")
        return 1
    images = folder / ("bucket" if settings.storage_url else "processed")
    _say(f"The compressed images are in {images.relative_to(PROJECT_DIR)}/.")
    _say("Next: `make run` starts the service; README.md shows how to use it with curl.")
    return 0


@contextmanager
def _service(settings: Settings) -> Iterator[None]:
    app = create_app(settings)
    server = make_server(app, settings, listen(settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.close()
        app.extensions["pressroom"].stop()


def _run_job(base_url: str) -> None:
    _say(f"The service runs at {base_url} with a private MongoDB. Uploading samples/catalog.csv …")
    catalog = _get(f"{base_url}/samples/catalog.csv").content
    accepted = requests.post(
        f"{base_url}/upload",
        files={"file": ("catalog.csv", catalog)},
        data={"webhook_url": f"{base_url}/webhook"},
        timeout=30,
    )
    assert accepted.status_code == 202, f"the upload was answered {accepted.text}"
    _say(f"202 {accepted.json()}")
    status = _follow(base_url + accepted.json()["status_url"])
    output = _get(base_url + status["output_csv_url"]).text
    _show_rows(output)
    _check_images(output, status["progress"]["completed"])
    _show_failures(base_url, accepted.json()["request_id"])
    _show_savings(status["progress"])
    _await_webhook(base_url, accepted.json()["request_id"])


def _follow(status_url: str) -> dict[str, Any]:
    """The status once the request has ended, its progress shown meanwhile."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    with tqdm(desc="Compressing", unit="image", file=sys.stdout) as bar:
        while time.monotonic() < give_up_at:
            status: dict[str, Any] = _get(f"{status_url}?images=none").json()
            progress = status["progress"]
            bar.total = progress["total"]
            bar.update(progress["total"] - progress["remaining"] - bar.n)
            if status["status"] != "processing":
                break
            time.sleep(POLL_SECONDS)
    assert status["status"] == "completed", f"the request is {status['status']}"
    return status


def _show_rows(output: str) -> None:
    _say(f"\nThe first rows of the output CSV ({len(output.splitlines())} lines):")
    for line in output.splitlines()[: SHOWN_ROWS + 1]:
        _say(f"  {line}")


def _check_images(output: str, completed: int) -> None:
    """Every URL in the output CSV opens an image."""
    rows = list(csv.DictReader(io.StringIO(output.removeprefix("\ufeff"))))
    urls = [url for row in rows for url in row["Output Image Urls"].split(",") if url]
    assert len(urls) == completed, f"{len(urls)} output URLs for {completed} images"
    for url in dict.fromkeys(urls):
        content_type = _get(url).headers["Content-Type"]
        assert content_type.startswith("image/"), f"{url} is {content_type}"
    _say(f"\nAll {len(urls)} output URLs open an image.")


def _show_failures(base_url: str, request_id: str) -> None:
    failed = _get(f"{base_url}/status/{request_id}?images=failed").json()["images"]
    codes = {url.rpartition("/")[2]: image["error"]["code"] for url, image in failed.items()}
    assert codes == EXPECTED_FAILURES, f"the failures are {codes}"
    _say(f"\n{len(failed)} of them are broken on purpose, and reported:")
    for url, image in failed.items():
        _say(f"  {url}: {image['error']['code']} {image['error']['message']}")


def _show_savings(progress: dict[str, Any]) -> None:
    bytes_in, bytes_out = progress["bytes_in"], progress["bytes_out"]
    assert 0 < bytes_out < bytes_in, f"{bytes_in} bytes became {bytes_out}"
    saved = 1 - bytes_out / bytes_in
    _say(f"\n{bytes_in:,} bytes before, {bytes_out:,} after: {saved:.0%} saved.")


def _await_webhook(base_url: str, request_id: str) -> None:
    """The receiver keeps only what is signed, so an event that is there has verified."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        events = _get(f"{base_url}/webhook").json()["events"]
        if any(event["payload"]["request_id"] == request_id for event in events):
            _say("The webhook arrived at the service's own receiver, and its signature verified.\n")
            return
        time.sleep(POLL_SECONDS)
    raise AssertionError("the webhook did not arrive")


def _get(url: str) -> requests.Response:
    response = requests.get(url, timeout=30)
    response.raise_for_status()
    return response


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
