"""Sessions of curl in documents, run word for word against the real service."""

import re
import shutil
import subprocess

import pytest

from tests.service_process import PROJECT, service_process

SHOWN_URL = "http://127.0.0.1:8000"
IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")


def sessions(text):
    """Commands and what they show, in order, but for `make`."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if not command.startswith("make "):
                yield command, shown


def assert_shows_what_it_gives(document, folder, *, least=9, **settings):
    """The commands of a document, `least` or more, run in `folder`, in one shell as readers do."""
    (folder / "samples").mkdir()
    shutil.copy(PROJECT / "samples" / "catalog.csv", folder / "samples")
    commands = list(sessions((PROJECT / document).read_text()))
    assert len(commands) >= least

    with service_process(folder, BASE_URL=SHOWN_URL, **settings) as service:
        service.wait_until_ready()
        # A mark tells where the output of each command ends.
        script = "\n".join(f"{command}\necho '<end>'" for command, _ in commands)
        ran = subprocess.run(
            ["bash", "-u"],
            input=script.replace(SHOWN_URL, service.url),
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=90,
            check=False,
        )

    assert ran.stderr == ""
    outputs = ran.stdout.split("<end>\n")[:-1]
    for (command, shown), output in zip(commands, outputs, strict=True):
        assert IDS.sub("<id>", output) == IDS.sub("<id>", shown), command
