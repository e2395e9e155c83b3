"""README's curl session, run word for word against the real service."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service_process import PROJECT, service_process

SHOWN_URL = "http://127.0.0.1:8000"
IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def sessions(text):
    """Commands and what they show, in order, but for `make`."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if not command.startswith("make "):
                yield command, shown


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")
def test_the_curl_session_gives_what_it_shows(tmp_path):
    (tmp_path / "samples").mkdir()
    shutil.copy(PROJECT / "samples" / "catalog.csv", tmp_path / "samples")
    commands = list(sessions((PROJECT / "README.md").read_text()))
    assert len(commands) > 8

    with service_process(tmp_path, BASE_URL=SHOWN_URL) as service:
        service.wait_until_ready()
        # One shell, as the reader has; a mark tells where the output of each command ends.
        script = "\n".join(f"{command}\necho '<end>'" for command, _ in commands)
        ran = subprocess.run(
            ["bash", "-u"],
            input=script.replace(SHOWN_URL, service.url),
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=90,
            check=False,
        )

    assert ran.stderr == ""
    outputs = ran.stdout.split("<end>\n")[:-1]
    for (command, shown), output in zip(commands, outputs, strict=True):
        assert IDS.sub("<id>", output) == IDS.sub("<id>", shown), command
    imported = (tmp_path / "import-me.csv").read_text()
    assert imported.count("/processed/") == 113


def test_readme_is_short_and_its_links_lead_somewhere():
    text = (PROJECT / "README.md").read_text()

    assert len(text.splitlines()) <= 150
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert Path(PROJECT, target).exists(), target
