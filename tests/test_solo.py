"""Coding in a process of its own: the same results, and a death that harms nobody else."""

import io
import sys

import pytest
from PIL import Image

from app import solo
from app.compress import Limits
from app.errors import ImageFailed
from app.models import BatchOptions

KILLER = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def coder():
    with solo.SoloCoder() as coder:
        yield coder


@pytest.fixture
def target(tmp_path):
    with (tmp_path / "target").open("w+b") as file:
        yield file


def compress(coder, source, target):
    return coder.compress(source, target, BatchOptions(), Limits(), jpeg_optimize=True)


def test_it_codes_one_image_after_the_other(coder, target, jpeg):
    for _ in range(3):
        target.seek(0)
        target.truncate()
        made = compress(coder, jpeg, target)

        target.seek(0)
        assert made.extension == "jpg"
        assert Image.open(io.BytesIO(target.read())).size == (64, 64)


def test_what_is_wrong_with_an_image_is_told_as_elsewhere(coder, target, jpeg):
    with pytest.raises(ImageFailed) as caught:
        compress(coder, b"<html>", target)

    assert caught.value.code == "not_an_image"
    assert caught.value.permanent
    assert compress(coder, jpeg, target).extension == "jpg"


def test_a_death_is_told_and_the_next_image_gets_a_new_process(coder, target, jpeg, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(solo, "COMMAND", (sys.executable, "-c", KILLER))
        with pytest.raises(solo.CoderDied):
            compress(coder, jpeg, target)

    assert compress(coder, jpeg, target).extension == "jpg"


def test_a_coder_that_hangs_is_as_good_as_dead(coder, target, jpeg, monkeypatch):
    monkeypatch.setattr(solo, "CODING_SECONDS", 0.2)
    monkeypatch.setattr(solo, "COMMAND", (sys.executable, "-c", "import signal; signal.pause()"))

    with pytest.raises(solo.CoderDied):
        compress(coder, jpeg, target)
