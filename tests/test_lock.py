"""Each .lock file pins, with hashes, all that its .txt asks for (`make lock`)."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
SHA256 = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")

both = pytest.mark.parametrize("name", ["requirements", "requirements-scale"])


def wanted(name):
    """What the list asks for, with what the lists ask for that it names."""
    for line in (PROJECT / f"{name}.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from wanted(text.removeprefix("-r ").removesuffix(".txt"))
        elif text:
            yield Requirement(text)


def locked(name):
    """The requirement and the hashes of each package, by its canonical name."""
    text = re.sub(r"^\s*#.*$", "", (PROJECT / f"{name}.lock").read_text(), flags=re.MULTILINE)
    entries = re.split(r"^(?=\S)", text.replace("\\\n", " "), flags=re.MULTILINE)
    found = {}
    for entry in filter(str.strip, entries):
        requirement = Requirement(entry.partition("--hash")[0])
        found[canonicalize_name(requirement.name)] = (requirement, SHA256.findall(entry))
    return found


@both
def test_every_requirement_is_locked_to_a_version_that_it_allows(name):
    entries = locked(name)

    for requirement in wanted(name):
        (pin,) = entries[canonicalize_name(requirement.name)][0].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), requirement


@both
def test_every_package_is_pinned_with_hashes(name):
    for package, (requirement, hashes) in locked(name).items():
        assert [pin.operator for pin in requirement.specifier] == ["=="], package
        assert hashes, package


@both
def test_what_the_requirements_require_is_locked_too(name):
    entries = locked(name)

    for requirement in wanted(name):
        for text in requires(requirement.name) or ():
            needed = Requirement(text)
            extras = ["", *requirement.extras]
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                assert canonicalize_name(needed.name) in entries, (requirement.name, text)


def test_scaling_out_changes_no_version_of_what_one_machine_needs():
    scaled = locked("requirements-scale")

    for package, (requirement, _) in locked("requirements").items():
        assert scaled[package][0].specifier == requirement.specifier, package
