"""The commands of docs/terminal.md and of the README's section, run against the real service."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.consoles import IDS, SHOWN_URL, sessions
from tests.service_process import PROJECT, environment, service_process

TIMES = re.compile(r'((?:seconds|images/s|images_per_second)"?:? +)[0-9.]+')


@pytest.fixture
def folder(tmp_path):
    """As a reader has it before him: the application, its samples, and `flask` to call."""
    (tmp_path / "app").symlink_to(PROJECT / "app")
    (tmp_path / "samples").mkdir()
    shutil.copy(PROJECT / "samples" / "catalog.csv", tmp_path / "samples")
    program = tmp_path / ".venv" / "bin" / "flask"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m flask "$@"\n')
    program.chmod(0o755)
    (program.parent / "activate").write_text(f"PATH={program.parent}:$PATH\n")
    return tmp_path


def shell(folder, script):
    """A shell whose commands have settings of their own; stderr goes to a file."""
    with (folder / "stderr").open("w") as stderr:
        return subprocess.run(
            ["bash", "-u"],
            input=f". .venv/bin/activate\n{script}",
            cwd=folder,
            env=environment(folder, 8000) | {"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=90,
            check=False,
        )


def plain(text):
    """Without what is another at every run."""
    text = TIMES.sub(r"\1<time>", IDS.sub("<id>", text))
    return re.sub(r" +", " ", re.sub(r"-[0-9a-f]{12}\.", "-<hash>.", text))


def test_the_terminals_page_shows_what_happens(folder):
    commands = list(sessions((PROJECT / "docs" / "terminal.md").read_text()))
    script = "\n".join(f"{command}\necho '<end>'" for command, _ in commands)

    with service_process(folder, BASE_URL=SHOWN_URL) as service:
        service.wait_until_ready()
        ran = shell(folder, script.replace(SHOWN_URL, service.url))

    outputs = ran.stdout.replace(service.url, SHOWN_URL).split("<end>\n")[:-1]
    assert len(commands) > 4
    for (command, shown), output in zip(commands, outputs, strict=True):
        assert plain(output) == plain(shown), command


def test_the_readmes_commands_work(folder):
    (block,) = re.findall(r"```sh\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)

    with service_process(folder, BASE_URL=SHOWN_URL) as service:
        service.wait_until_ready()
        shell(folder, block.replace(SHOWN_URL, service.url))

    assert (folder / "compressed" / "catalog-compressed.csv").exists()
    assert (folder / "catalog-compressed.csv").exists()
