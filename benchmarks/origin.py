"""The host that the images are fetched from: nginx where there is one, else a small one of our own.

In: a folder of files. Out: three addresses on loopback, served by a process of its own: at once,
with 100 ms before every answer, and over TLS with a certificate of an authority made for this run.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import make_certificates
from tests.service_process import free_port

LATENCY_SECONDS = 0.1
START_SECONDS = 10
ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
_NGINX = """
load_module {echo};
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    types {{ image/jpeg jpg; }}
    client_body_temp_path {folder}/1;
    proxy_temp_path {folder}/2;
    fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4;
    scgi_temp_path {folder}/5;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        root {root};
        location ~ ^/slow(/.*)$ {{ echo_sleep {latency}; echo_exec $1; }}
    }}
}}
"""


@dataclass(frozen=True)
class Origin:
    """Prefixes of URLs; `kind` says who serves them, `authority` signed the certificate."""

    kind: str
    plain: str
    slow: str
    tls: str
    authority: Path
    process: "subprocess.Popen[bytes]"


@contextmanager
def serving(root: Path, folder: Path, *, may_use_nginx: bool = True) -> Iterator[Origin]:
    """Serves the files below `root`; what it needs besides is written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    certificates = make_certificates(folder)
    port, tls_port = free_port(), free_port()
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if may_use_nginx and nginx and ECHO_MODULE.exists():
        kind = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
        kind = kind.strip().removeprefix("nginx version: ")
        command = _nginx(nginx, root, folder, certificates.valid, port, tls_port)
    else:
        kind = "the benchmark's own, without nginx and its echo module"
        command = [sys.executable, "-m", "benchmarks.small_origin"]
        command += [str(root), str(certificates.valid), str(port), str(tls_port)]
    process = subprocess.Popen(command)
    try:
        _wait_until_open(port, process)
        plain = f"http://127.0.0.1:{port}"
        tls = f"https://127.0.0.1:{tls_port}"
        yield Origin(kind, plain, f"{plain}/slow", tls, certificates.authority, process)
    finally:
        process.terminate()
        process.wait()


def _nginx(
    program: str, root: Path, folder: Path, certificate: Path, port: int, tls_port: int
) -> list[str]:
    configuration = folder / "nginx.conf"
    text = _NGINX.format(
        echo=ECHO_MODULE,
        user="user root;\n" if os.geteuid() == 0 else "",  # else it could not read our folders
        folder=folder,
        root=root,
        certificate=certificate,
        port=port,
        tls_port=tls_port,
        latency=LATENCY_SECONDS,
    )
    configuration.write_text(text)
    return [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)]


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the origin did not start")
