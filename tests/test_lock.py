"""requirements.lock pins, with hashes, all that requirements.txt asks for (`make lock`)."""

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
SHA256 = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def wanted():
    lines = (PROJECT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def locked():
    """The requirement and the hashes of each package, by its canonical name."""
    text = re.sub(r"^\s*#.*$", "", (PROJECT / "requirements.lock").read_text(), flags=re.MULTILINE)
    entries = re.split(r"^(?=\S)", text.replace("\\\n", " "), flags=re.MULTILINE)
    found = {}
    for entry in filter(str.strip, entries):
        requirement = Requirement(entry.partition("--hash")[0])
        found[canonicalize_name(requirement.name)] = (requirement, SHA256.findall(entry))
    return found


def test_every_requirement_is_locked_to_a_version_that_it_allows():
    entries = locked()

    for requirement in wanted():
        (pin,) = entries[canonicalize_name(requirement.name)][0].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), requirement


def test_every_package_is_pinned_with_hashes():
    for name, (requirement, hashes) in locked().items():
        assert [pin.operator for pin in requirement.specifier] == ["=="], name
        assert hashes, name


def test_what_the_requirements_require_is_locked_too():
    entries = locked()

    for requirement in wanted():
        for text in requires(requirement.name) or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in entries, (requirement.name, text)
