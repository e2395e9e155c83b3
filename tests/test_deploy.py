"""Dockerfile, compose.yaml, the systemd unit, the backup script, as far as they can be tried."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from app.config import Settings
from run import MEMORY
from tests.service_process import PROJECT, environment, free_port, service_process

DOCKERFILE = (PROJECT / "Dockerfile").read_text()
IMAGE_ENVIRONMENT = dict(
    line.split("=", 1)
    for line in re.search(r"^ENV ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)[1].split()
    if "=" in line
)
COMPOSE = yaml.safe_load((PROJECT / "compose.yaml").read_text())
UNIT = PROJECT / "docs" / "deploy" / "pressroom.service"
BACKUP = PROJECT / "docs" / "deploy" / "backup.sh"
SETTINGS = {name.upper() for name in Settings.model_fields}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with service_process(tmp_path_factory.mktemp("service")) as service:
        yield service.wait_until_ready()


def run(*command, **kwargs):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


# The image


def test_the_dockerfile_passes_its_linter():
    hadolint = Path(sys.executable).with_name("hadolint")

    ran = run(hadolint, "--failure-threshold", "info", PROJECT / "Dockerfile")

    assert (ran.returncode, ran.stdout) == (0, "")


def test_the_image_starts_the_service_itself_as_nobody_and_finds_all_that_it_copies():
    assert DOCKERFILE.rstrip().endswith('CMD ["python", "run.py"]')
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", DOCKERFILE, re.MULTILINE)
    shown = (PROJECT / ".dockerignore").read_text().splitlines()
    for sources in re.findall(r"^COPY ([a-z].*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert f"!{source}" in shown
            assert (PROJECT / source).exists()


def test_the_image_keeps_what_replicas_share_apart_from_what_is_one_machines():
    own, shared = re.search(r"^VOLUME (\S+) (\S+)$", DOCKERFILE, re.MULTILINE).groups()

    assert IMAGE_ENVIRONMENT["DATA_DIR"] == own
    for name in ("UPLOAD_DIR", "PROCESSED_DIR", "OUTPUT_DIR"):
        assert IMAGE_ENVIRONMENT[name].startswith(f"{shared}/")
    assert not own.startswith(shared)


def test_the_image_sets_settings_and_memory_as_run_py_does():
    assert IMAGE_ENVIRONMENT.items() >= MEMORY.items()
    others = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", *MEMORY}
    assert set(IMAGE_ENVIRONMENT) - others <= SETTINGS


def test_the_workers_unit_has_memory_as_run_py_does():
    unit = (PROJECT / "docs" / "deploy" / "pressroom-worker.service").read_text()

    assert all(f"Environment={name}={value}\n" in unit for name, value in MEMORY.items())


def test_the_health_check_tells_a_service_that_lives_from_one_that_does_not(service):
    (line,) = re.findall(r"^HEALTHCHECK .*\n\s+CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    command = [sys.executable, *json.loads(line)[1:]]

    alive = run(*command, env={"PORT": str(service.port)})
    gone = run(*command, env={"PORT": str(free_port())})

    assert alive.returncode == 0, alive.stderr
    assert gone.returncode != 0


# Containers together


def test_compose_sets_what_are_settings_and_keeps_the_service_to_this_machine():
    service = COMPOSE["services"]["pressroom"]

    assert set(service["environment"]) <= SETTINGS
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    volumes = re.search(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)[1].split()
    assert [volume.partition(":")[2] for volume in service["volumes"]] == volumes
    assert int(service["stop_grace_period"].rstrip("s")) >= 30


def test_every_setting_of_dot_env_reaches_the_containers_but_what_is_theirs():
    """`.env` may be a copy of .env.example, whose defaults are of no container."""
    for name in ("pressroom", "worker"):
        service = COMPOSE["services"][name]
        assert service["env_file"] == [{"path": ".env", "required": False}]
        fixed = {key for key, value in service["environment"].items() if "$" not in value}
        assert fixed == {
            *("HOST", "PORT", "CELERY_BROKER_URL"),
            *("DATA_DIR", "UPLOAD_DIR", "PROCESSED_DIR", "OUTPUT_DIR"),
        }
        for key in fixed & set(IMAGE_ENVIRONMENT):
            assert service["environment"][key] == IMAGE_ENVIRONMENT[key]


def test_without_a_profile_only_the_service_and_its_database_start():
    services = COMPOSE["services"]
    plain = {name for name, service in services.items() if "profiles" not in service}

    assert plain == {"pressroom", "mongodb"}
    for name in plain:
        assert set(services[name].get("depends_on", ())) <= plain


def test_compose_has_two_workers_that_are_begun_as_the_unit_begins_them():
    worker = COMPOSE["services"]["worker"]
    unit = (PROJECT / "docs" / "deploy" / "pressroom-worker.service").read_text()
    (begun,) = re.findall(r"^ExecStart=\S+/(celery (?:.*\\\n)*.*)", unit, re.MULTILINE)

    assert " ".join(begun.replace("\\", "").split()) in worker["command"][2]
    assert worker["deploy"]["replicas"] == 2
    assert worker["healthcheck"] == {"disable": True}
    assert "ports" not in worker
    assert urlsplit(worker["environment"]["CELERY_BROKER_URL"]).hostname in COMPOSE["services"]


def test_a_worker_that_would_get_nothing_to_do_says_what_to_set():
    script = COMPOSE["services"]["worker"]["command"][2].replace("$$", "$")

    ran = run("/bin/sh", "-euc", script, env={"PATH": os.environ["PATH"], "ENGINE": "threads"})

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "set ENGINE=celery" in ran.stderr


def test_every_part_that_compose_names_is_there():
    services, volumes = COMPOSE["services"], COMPOSE["volumes"]

    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in volumes or source.startswith((".", "$"))
    assert (PROJECT / "docs" / "nginx.conf").is_file()


@pytest.fixture
def start_nginx(tmp_path):
    """A function that runs the start of compose.yaml's nginx here, up to nginx itself."""
    script = COMPOSE["services"]["nginx"]["command"][2].replace("$$", "$")
    places = {
        "/etc/nginx/conf.d": str(tmp_path),
        " /pressroom.conf ": f" {PROJECT / 'docs' / 'nginx.conf'} ",
        "exec nginx": "exec echo nginx",
    }
    for there, here in places.items():
        assert there in script
        script = script.replace(there, here)

    def start(**environment_):
        names = dict.fromkeys(COMPOSE["services"]["nginx"]["environment"], "")
        return run(
            "/bin/sh", "-euc", script, env={"PATH": os.environ["PATH"]} | names | environment_
        )

    return start


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ALLOW_OPEN": "false"}, "set DOMAIN"),
        ({"DOMAIN": "a.b", "ALLOW_OPEN": "true"}, "API_KEYS"),
    ],
)
def test_nginx_does_not_open_a_service_to_others_that_is_not_meant_for_them(
    start_nginx, given, said
):
    ran = start_nginx(**given)

    assert ran.returncode == 1
    assert said in ran.stderr


def test_nginx_of_compose_reads_the_documented_file_with_the_names_put_in(start_nginx, tmp_path):
    ran = start_nginx(DOMAIN="shop.example.org", ALLOW_OPEN="false")
    conf = (tmp_path / "pressroom.conf").read_text()

    assert ran.returncode == 0, ran.stderr
    assert conf.count("server_name shop.example.org;") == 2
    assert "server pressroom:8000;" in conf
    assert not re.search(r"^(?!\s*#).*images\.example\.com", conf, re.MULTILINE)


# systemd


def test_the_unit_is_one_that_systemd_takes_and_shuts_in(tmp_path):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(UNIT)
    service = unit["Service"]
    for name, value in {
        "KillMode": "mixed",  # or workers and the private MongoDB would be told to stop first
        "TimeoutStopSec": "30",
        "Restart": "on-failure",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ReadWritePaths": "/var/lib/pressroom",
        "CapabilityBoundingSet": "",
    }.items():
        assert service[name] == value
    for name in re.findall(r"^Environment=(\w+)=", UNIT.read_text(), re.MULTILINE):
        assert name in SETTINGS | {"XDG_RUNTIME_DIR", "PYTHONDONTWRITEBYTECODE"}

    if shutil.which("systemd-analyze"):
        here = tmp_path / UNIT.name
        here.write_text(re.sub(r"/opt/pressroom/current/\S*python", "/bin/true", UNIT.read_text()))
        verified = run("systemd-analyze", "verify", here)
        assert (verified.returncode, verified.stderr) == (0, "")
        judged = run("systemd-analyze", "security", "--offline=true", "--threshold=20", here)
        assert judged.returncode == 0, judged.stdout[-200:]


# Backup


def test_a_backup_holds_the_database_and_the_files(service, tmp_path):
    catalog = f"Images\n{service.url}/samples/cat-240.jpg\n"
    sent = requests.post(
        f"{service.url}/upload",
        files={"file": ("a.csv", catalog)},
        headers={"Prefer": "wait=20"},
        timeout=30,
    )
    (image,) = sent.json()["images"].values()
    variables = environment(service.folder, service.port, PYTHON=sys.executable)

    ran = run(BACKUP, tmp_path, env=variables, cwd=PROJECT)

    assert ran.returncode == 0, ran.stderr
    (archive,) = tmp_path.glob("database-*")
    with tarfile.open(archive) as tar:
        assert "files/WiredTiger" in tar.getnames()
    assert (tmp_path / "files" / image["path"]).stat().st_size == image["bytes_out"]


def test_the_nightly_backup_names_programs_and_folders_wherever_cron_begins():
    (line,) = re.findall(r"^17 3 .*", (PROJECT / "docs" / "deploy.md").read_text(), re.MULTILINE)
    _, options, script, folder = re.fullmatch(r"(.*? systemd-run) (.*) (\S+) (\S+)", line).groups()

    assert script.startswith("/opt/pressroom/current/")
    assert os.access(PROJECT / script.removeprefix("/opt/pressroom/current/"), os.X_OK)
    assert folder.startswith("/")
    assert re.findall(r"(\w*(?:DIR|File|Directory))=(?!/)", options) == []


def test_the_guide_names_files_that_are_there():
    text = (PROJECT / "docs" / "deploy.md").read_text()

    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (PROJECT / "docs" / target).is_file(), target
    named = set(re.findall(r"^([A-Z]+(?:_[A-Z]+)+)=", text, re.MULTILINE))
    assert named - SETTINGS == set()
