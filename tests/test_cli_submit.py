"""`flask submit`: a catalogue to a running service, over HTTP."""

import json
import signal
import threading

import pytest
import requests

from app import create_app
from app.cli.remote import safe_name
from app.cli.tally import Tally, read_tally
from app.config import Settings
from tests.certificates import make_certificates
from tests.origin import Origin
from tests.service_process import PROJECT, free_port, service_process
from tests.terminal import ended, flask, read_until, started

HEALTHY = b'{"status":"ok"}'
ID = "87e98b85-f610-402c-bfa8-e40237c328fb"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with service_process(tmp_path_factory.mktemp("service")) as service:
        yield service.wait_until_ready()


@pytest.fixture
def submit():
    """A function that runs the command in this process."""
    runner = create_app(Settings(_env_file=None)).test_cli_runner()
    return lambda *arguments: runner.invoke(args=["submit", *map(str, arguments)])


@pytest.fixture
def catalog(tmp_path, service):
    """The sample catalogue as this service has it."""
    text = (PROJECT / "samples" / "catalog.csv").read_text()
    file = tmp_path / "catalog.csv"
    file.write_text(text.replace("http://127.0.0.1:8000", service.url))
    return file


@pytest.fixture
def one_image(tmp_path, service):
    file = tmp_path / "one.csv"
    file.write_text(f"Images\n{service.url}/samples/cat-240.jpg\n")
    return file


@pytest.fixture
def pretender(origin):
    """An origin that answers as a service would, as far as a test goes."""
    origin.serve("/healthz", HEALTHY)
    origin.serve("/upload", json.dumps({"request_id": ID}).encode(), status=202)
    counts = {"total": 1, "completed": 1, "failed": 0, "cancelled": 0, "remaining": 0}
    counts |= {"bytes_in": 2, "bytes_out": 1, "images_per_second": 1.0}
    status = {"request_id": ID, "status": "completed", "error": None, "progress": counts}
    origin.serve(f"/status/{ID}?images=none", json.dumps(status).encode())
    csv = b"Images,Output Image Urls,Status,Error\nhttp://x/a.jpg,http://x/b.jpg,completed,\n"
    name = [("Content-Disposition", 'attachment; filename="../../../evil.sh"')]
    origin.serve(f"/download/{ID}", csv, headers=name)
    return origin


def sent(origin, path):
    return [request for request in origin.requests if request.path == path]


def test_a_catalogue_is_followed_to_its_end_and_its_output_fetched(tmp_path, service, catalog):
    out = tmp_path / "results"

    ran = flask(tmp_path, "submit", catalog, "--to", service.url, "--out", f"{out}/", "--zip")

    assert ran.returncode == 3, ran.stderr
    assert {path.name for path in out.iterdir()} == {"catalog-compressed.csv", "catalog-images.zip"}
    assert "of 116 images" in ran.stderr
    assert "http_404" in ran.stdout
    assert ran.stdout.endswith(f"{out}/catalog-compressed.csv\n{out}/catalog-images.zip\n")
    assert not {"\r", "\x1b"} & set(ran.stdout + ran.stderr)


def test_json_is_one_document(tmp_path, service, one_image, submit):
    ran = submit(one_image, "--to", service.url, "--out", tmp_path / "out.csv", "--json")

    assert (ran.exit_code, ran.stderr) == (0, "")
    document = json.loads(ran.stdout)
    assert document["output_csv"] == str(tmp_path / "out.csv")
    assert (document["rows"], document["completed"], document["failures"]) == (1, 1, {})
    status = requests.get(f"{service.url}/status/{document['request_id']}", timeout=10).json()
    assert status["progress"]["bytes_out"] == document["bytes_out"]


def test_detached_it_says_where_to_look(service, one_image, submit):
    ran = submit(one_image, "--to", service.url, "--detach")

    request_id, status_url = ran.stdout.split()
    assert ran.exit_code == 0
    assert requests.get(status_url, timeout=10).json()["request_id"] == request_id


def test_the_same_key_follows_the_earlier_upload(tmp_path, service, one_image, submit):
    command = (one_image, "--to", service.url, "--out", tmp_path, "--json")

    first, second = (submit(*command, "--idempotency-key", "mine") for _ in range(2))

    assert json.loads(first.stdout)["request_id"] == json.loads(second.stdout)["request_id"]


def test_a_dry_run_shows_what_the_service_finds(service, catalog, submit):
    ran = submit(catalog, "--to", service.url, "--dry-run")

    assert ran.exit_code == 0
    assert "116" in ran.stdout
    assert "Input Image Urls" in ran.stdout


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("Images\nhtp://x\n", [], "row 1, line 2, Images: bad_url"),
        ("Images\n/a.jpg\n", ["--source-base-url", "ftp://x"], "--source-base-url: "),
        ("Images\nhttp://x/a.jpg\n", ["--webhook-url", "http://10.0.0.1/"], "webhook_url: "),
    ],
)
def test_what_the_service_refuses_is_2_with_the_place(
    tmp_path, service, submit, text, options, message
):
    (tmp_path / "bad.csv").write_text(text)

    ran = submit(tmp_path / "bad.csv", "--to", service.url, *options)

    assert ran.exit_code == 2
    assert message in ran.stderr


@pytest.mark.parametrize(
    "options", [["--to", "nowhere"], ["--to", "http://me:secret@x"], ["--to", "http://x", "--out"]]
)
def test_wrong_usage_is_2(one_image, submit, options):
    out = [one_image] if options[-1] == "--out" else []  # the file itself

    assert submit(one_image, *options, *out).exit_code == 2


def test_a_service_that_cannot_be_reached_is_1_at_once(one_image, submit):
    ran = submit(one_image, "--to", f"http://127.0.0.1:{free_port()}", "--json")

    assert ran.exit_code == 1
    assert "cannot be reached: the connection is refused" in json.loads(ran.stdout)["error"]


def test_a_server_that_is_no_pressroom_is_1(one_image, submit, origin):
    ran = submit(one_image, "--to", origin.url().rstrip("/"))

    assert ran.exit_code == 1
    assert "is no Pressroom service" in ran.stderr


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("valid", "unable to get local issuer"), ("self_signed", "self-signed certificate")],
)
def test_a_certificate_that_is_not_trusted_is_1(tmp_path, one_image, submit, kind, fault):
    with Origin(certificate=getattr(make_certificates(tmp_path), kind)) as origin:
        ran = submit(one_image, "--to", origin.url().rstrip("/"))

    assert ran.exit_code == 1
    assert f"its certificate is refused, {fault}" in ran.stderr
    assert "REQUESTS_CA_BUNDLE" in ran.stderr


def test_https_to_a_service_without_it_is_1(one_image, submit, origin):
    ran = submit(one_image, "--to", origin.url().rstrip("/").replace("http", "https"))

    assert ran.exit_code == 1
    assert "cannot be reached" in ran.stderr


def test_a_key_that_is_missing_is_1_and_says_where_to_give_it(one_image, submit, pretender):
    pretender.serve("/upload", b'{"error":"an API key is needed"}', status=401)

    ran = submit(one_image, "--to", pretender.url().rstrip("/"))

    assert ran.exit_code == 1
    assert "an API key is needed; give it as --api-key or in PRESSROOM_API_KEY" in ran.stderr


def test_the_key_of_the_environment_is_sent(tmp_path, one_image, submit, pretender, monkeypatch):
    monkeypatch.setenv("PRESSROOM_API_KEY", "secret")

    submit(one_image, "--to", pretender.url().rstrip("/"), "--out", tmp_path)

    (upload,) = sent(pretender, "/upload")
    assert upload.headers["authorization"] == "Bearer secret"


def test_a_redirect_is_told_and_not_followed(one_image, submit, pretender):
    pretender.redirect("/upload", "https://elsewhere.example/upload", status=308)

    ran = submit(one_image, "--to", pretender.url().rstrip("/"))

    assert ran.exit_code == 1
    assert "https://elsewhere.example/upload" in ran.stderr


def test_a_busy_service_is_waited_for_and_gets_the_same_upload_again(
    tmp_path, one_image, submit, pretender
):
    accepted = json.dumps({"request_id": ID}).encode()
    pretender.flap("/upload", accepted, failures=2, headers=[("Retry-After", "0")])

    ran = submit(one_image, "--to", pretender.url().rstrip("/"), "--out", tmp_path)

    assert ran.exit_code == 0, ran.output
    assert "Waiting for" in ran.stderr
    assert "answers again" in ran.stderr
    uploads = sent(pretender, "/upload")
    assert len(uploads) == 3
    assert len({request.headers["idempotency-key"] for request in uploads}) == 1
    assert all(b"cat-240.jpg" in request.body for request in uploads)


def test_a_service_that_asks_for_more_patience_than_there_is_is_1(one_image, submit, pretender):
    pretender.serve("/upload", b"{}", status=429, headers=[("Retry-After", "3600")])

    ran = submit(one_image, "--to", pretender.url().rstrip("/"))

    assert ran.exit_code == 1
    assert "is given up: it answers 429" in ran.stderr


def test_the_name_that_a_service_sends_is_never_a_path(tmp_path, one_image, submit, pretender):
    out = tmp_path / "out"

    submit(one_image, "--to", pretender.url().rstrip("/"), "--out", f"{out}/")

    assert [path.name for path in out.iterdir()] == ["evil.csv"]


@pytest.mark.parametrize(
    ("sent_name", "name"),
    [
        ("catalog-compressed.csv", "catalog-compressed.csv"),
        ("Künstler-compressed.csv", "Künstler-compressed.csv"),
        ("..\\..\\catalog.csv", "catalog.csv"),
        (".bashrc", "bashrc.csv"),
        ("/etc/passwd", "passwd.csv"),
        ("nul.csv", "_nul.csv"),
        ("", "fallback.csv"),
        ("..", "fallback.csv"),
    ],
)
def test_a_sent_name_is_made_safe(sent_name, name):
    assert safe_name(sent_name, ".csv", "fallback.csv") == name


def test_an_output_is_read_back_beside_columns_of_the_same_names(tmp_path):
    (tmp_path / "out.csv").write_text(
        "Status,Images,Output Image Urls,Image Status,Image Error\n"
        "active,http://x/a.jpg,,failed,1: http_404 Not Found\n"
        'active,"http://x/a.jpg,http://x/b",,failed,"1: http_404 Not Found; 2: timeout 1: s"\n'
        "active,htp://x,,invalid,bad_url 1: htp\n"
        "active,http://x/c.jpg,,cancelled,1: cancelled the request was cancelled\n"
    )

    assert read_tally(tmp_path / "out.csv", (), None) == Tally(4, 1, {"http_404": 2, "timeout": 1})


def test_a_restart_of_the_service_is_survived(tmp_path, origin, jpeg):
    gate = threading.Event()
    origin.serve("/a.jpg", jpeg, gate=gate)
    file = tmp_path / "a.csv"
    file.write_text(f"Images\n{origin.url('/a.jpg')}\n")
    with service_process(tmp_path) as service:
        service.wait_until_ready()
        waiting = started(
            tmp_path, "submit", file, "--to", service.url, "--out", tmp_path / "r.csv"
        )
        origin.wait_until(lambda: origin.running("/a.jpg"), 20)
        service.process.kill()
        service.process.wait()
        read_until(waiting.stderr, f"Waiting for {service.url}")
        gate.set()
        with service_process(tmp_path, PORT=service.port):
            ran = ended(waiting)

    assert ran.returncode == 0, ran.stderr
    assert "answers again" in ran.stderr
    assert (tmp_path / "r.csv").exists()


def test_ctrl_c_says_how_to_follow_what_goes_on(tmp_path, pretender, one_image):
    processing = {"request_id": ID, "status": "processing"}
    processing["progress"] = {"total": 9, "remaining": 8, "failed": 0}
    pretender.serve(f"/status/{ID}?images=none", json.dumps(processing).encode())
    waiting = started(tmp_path, "submit", one_image, "--to", pretender.url().rstrip("/"))
    read_until(waiting.stderr, "1 of 9 images")

    waiting.send_signal(signal.SIGINT)
    ran = ended(waiting)

    assert ran.returncode == 1
    (upload,) = sent(pretender, "/upload")
    assert f"--idempotency-key {upload.headers['idempotency-key']}" in ran.stderr


def test_the_command_needs_no_settings_of_a_server_and_starts_nothing(tmp_path):
    listed = flask(tmp_path, "--help", PORT="eighty")

    assert listed.returncode == 0
    assert "process" in listed.stdout
    assert "submit" in listed.stdout
    assert listed.stderr == ""
    assert not (tmp_path / "data").exists()
