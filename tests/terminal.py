"""The command `flask` as a process, as a user runs it."""

import os
import subprocess
import sys

from tests.service_process import PROJECT, environment

COMMAND = [sys.executable, "-m", "flask"]


def started(folder, *arguments, **settings):
    """A running command; its settings are as a service's whose folders are in `folder`."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=PROJECT,
        env=environment(folder, 8000, **settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, seconds=60):
    """The same as `subprocess.run` gives, once it has ended."""
    stdout, stderr = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def flask(folder, *arguments, **settings):
    return ended(started(folder, *arguments, **settings))


def read_until(file, text):
    """What comes, up to the line that has the text in it."""
    lines = []
    for line in file:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def read_all(descriptor):
    """What a terminal shows, until the last process that writes to it has ended."""
    shown = b""
    try:
        while piece := os.read(descriptor, 65_536):
            shown += piece
    except OSError:  # as Linux says that nobody has the other end
        pass
    return shown.decode()
