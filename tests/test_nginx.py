"""docs/nginx.conf, run by a real nginx in front of a real service."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import requests

from app.config import Settings
from tests.certificates import make_certificates
from tests.service_process import PROJECT, free_port, service_process

CONF = (PROJECT / "docs" / "nginx.conf").read_text()
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
UPLOADS_AN_HOUR = 6
FORM_BYTES = 1_048_576

pytestmark = pytest.mark.skipif(not NGINX, reason="needs nginx: apt-get install nginx-light")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A service behind nginx; `url` is where callers find it, `get` and `post` call it."""
    folder = tmp_path_factory.mktemp("nginx")
    authority = str(make_certificates(folder).authority)
    ports = SimpleNamespace(https=free_port(), http=free_port())
    url = f"https://localhost:{ports.https}"
    settings = {"TRUSTED_PROXIES": 1, "RATE_LIMIT": f"{UPLOADS_AN_HOUR}/hour", "BASE_URL": url}

    def call(method, path, base_url=url, **kwargs):
        return requests.request(
            method,
            f"{base_url}{path}",
            verify=authority,
            timeout=30,
            allow_redirects=False,
            **kwargs,
        )

    with (
        service_process(folder, **settings) as service,
        nginx(folder, ports, [service.port]),
    ):
        service.wait_until_ready()
        yield SimpleNamespace(url=url, ports=ports, service=service, call=call)


@contextmanager
def nginx(folder, ports, service_ports):
    """Serves the documented file, with this machine's ports and certificate in their places."""
    servers = "".join(f"server 127.0.0.1:{port}; " for port in service_ports)
    places = {
        "server 127.0.0.1:8000;": servers,
        "listen 80;": f"listen 127.0.0.1:{ports.http};",
        "listen 443 ": f"listen 127.0.0.1:{ports.https} ",
        "/etc/ssl/pressroom/fullchain.pem": str(folder / "valid.pem"),
        "/etc/ssl/pressroom/privkey.pem": str(folder / "valid.pem"),
        "images.example.com": "localhost",
        "/var/www/html": str(folder),
    }
    conf = CONF
    for documented, here in places.items():
        assert documented in conf
        conf = conf.replace(documented, here)
    (folder / "pressroom.conf").write_text(conf)
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{part}_temp_path {folder}/{part};" for part in parts)
    (folder / "main.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; events {{}}"
        f"http {{ access_log off; {temporary} include {folder}/pressroom.conf; }}"
    )
    command = [NGINX, "-e", "stderr", "-c", f"{folder}/main.conf"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until_it_listens(process, ports, folder / "nginx.log")
            yield
        finally:
            process.terminate()
            process.wait(20)


def wait_until_it_listens(process, ports, log):
    give_up_at = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", ports.https)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def sent_raw(site, request):
    """What nginx answers to these bytes: the status and the body."""
    context = ssl.create_default_context(cafile=site.service.folder / "authority.pem")
    with (
        socket.create_connection(("127.0.0.1", site.ports.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(request)
        answer = b""
        while b'"}' not in answer and (got := line.recv(65_536)):
            answer += got
    return int(answer.split()[1]), answer.decode().rpartition("\r\n\r\n")[2]


def assert_is_json_error(reply, status, words):
    assert reply.status_code == status
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert list(reply.json()) == ["error"]
    assert words in reply.json()["error"]


def upload(site, text, **headers):
    files = {"file": ("catalog.csv", text)}
    return site.call("POST", "/upload", files=files, headers=headers)


def test_a_whole_job_goes_through(site):
    text = f"Images\n{site.url}/samples/cat-240.jpg\n"

    body = upload(site, text, Prefer="wait=20", Origin=site.url).json()

    (image,) = body["images"].values()
    assert image["output_url"].startswith(f"{site.url}/processed/")
    picture = site.call("GET", image["output_url"].removeprefix(site.url))
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert "max-age" in picture.headers["Strict-Transport-Security"]
    assert len(picture.content) == image["bytes_out"]


def test_what_the_service_refuses_comes_as_the_service_says_it(site):
    assert_is_json_error(site.call("GET", "/nowhere"), 404, "POST /upload")
    assert_is_json_error(
        site.call("POST", "/upload", headers={"Origin": "https://a.b"}), 403, "a.b"
    )


def test_plain_http_leads_to_https(site):
    reply = site.call("GET", "/healthz", f"http://localhost:{site.ports.http}")

    assert reply.status_code == 308
    assert reply.headers["Location"].startswith("https://localhost/")


def test_a_certificate_can_be_renewed_over_plain_http(site):
    folder = site.service.folder / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("the answer")
    url = f"http://localhost:{site.ports.http}"

    there = site.call("GET", "/.well-known/acme-challenge/token", url)
    missing = site.call("GET", "/.well-known/acme-challenge/other", url)

    assert (there.status_code, there.text) == (200, "the answer")
    assert missing.status_code == 308


def test_the_body_limit_is_that_of_the_service(site):
    megabytes = int(re.search(r"client_max_body_size (\d+)m;", CONF)[1])
    default_bytes = Settings.model_fields["max_csv_bytes"].default
    assert megabytes * 1_048_576 == default_bytes + FORM_BYTES

    start = (
        f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {megabytes}000000000\r\n\r\n"
    )
    status, body = sent_raw(site, start.encode())

    assert status == 413
    assert body == (
        '{"error": "the body is larger than is allowed here: split the file into several"}'
    )


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ],
)
def test_what_nginx_refuses_is_json_too(site, request_, status):
    answered, body = sent_raw(site, request_)

    assert answered == status
    assert body.startswith('{"error": "')


def test_the_page_of_errors_is_no_page_of_its_own(site):
    assert_is_json_error(site.call("GET", "/nginx-error"), 404, "nothing here")


def test_http_on_the_port_of_https_is_told_in_json(site):
    reply = site.call("GET", "/healthz", f"http://localhost:{site.ports.https}")

    assert_is_json_error(reply, 400, "HTTPS")


def test_nobody_becomes_another_caller_by_claiming_an_address(site):
    replies = [
        upload(site, "no image column\n", **{"X-Forwarded-For": f"192.0.2.{number}"})
        for number in range(UPLOADS_AN_HOUR + 1)
    ]

    assert_is_json_error(replies[-1], 429, "RATE_LIMIT")
    assert int(replies[-1].headers["Retry-After"]) > 60


def test_of_two_web_processes_each_takes_its_part_and_one_goes_on_without_the_other(
    tmp_path, wait_for
):
    make_certificates(tmp_path)
    ports = SimpleNamespace(https=free_port(), http=free_port())
    url = f"https://localhost:{ports.https}"
    settings = {"TRUSTED_PROXIES": 1, "BASE_URL": url, "LOG_LEVEL": "DEBUG"}
    beside = tmp_path / "second"
    beside.mkdir()
    shared = {
        f"{name}_DIR": tmp_path / folder
        for name, folder in (
            ("DATA", "data"),
            ("UPLOAD", "uploads"),
            ("PROCESSED", "processed"),
            ("OUTPUT", "outputs"),
        )
    }
    session = requests.Session()
    session.trust_env, session.verify = False, str(tmp_path / "authority.pem")

    with (
        service_process(tmp_path, **settings) as first,
        service_process(beside, **settings | shared) as second,
        nginx(tmp_path, ports, [first.port, second.port]),
    ):
        first.wait_until_ready()
        second.wait_until_ready()
        files = {"file": ("catalog.csv", f"Images\n{url}/samples/cat-240.jpg\n")}
        body = session.post(
            f"{url}/upload", files=files, headers={"Prefer": "wait=20"}, timeout=30
        ).json()
        status_url = f"{url}/status/{body['request_id']}"
        before = [session.get(status_url, timeout=10).json() for _ in range(4)]
        logs = [service.log() for service in (first, second)]
        first.process.terminate()
        first.process.wait(30)
        (image,) = body["images"].values()
        wait_for(lambda: session.get(status_url, timeout=10).ok)  # the database begins anew
        output = session.get(f"{url}{body['output_csv_url']}", timeout=30)
        picture = session.get(image["output_url"], timeout=30)

    assert [status["status"] for status in before] == ["completed"] * 4
    assert all(f"path=/status/{body['request_id']}" in log for log in logs)
    assert (output.status_code, image["output_url"] in output.text) == (200, True)
    assert len(picture.content) == image["bytes_out"]


def test_a_service_that_is_away_is_told_in_json(site):
    site.service.process.terminate()
    site.service.process.wait(30)

    reply = site.call("GET", "/healthz")

    assert_is_json_error(reply, 502, "does not answer")
    assert reply.headers["Retry-After"] == "5"
