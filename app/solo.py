"""Coding in a process of its own, for images under suspicion of killing whoever codes them.

A segment that was claimed again and again without a result has its images coded here, one at a
time: when the coder dies, the one image that it had is to blame, and nobody else is harmed. The
service being killed from outside blames nobody. Called by `making` and `segment_run`.

Files go over as descriptors, the rest pickled, on a socket that only the two of them have.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from app.compress import Compressed, Limits, compress
from app.errors import ImageFailed, PressroomError, StorageUnavailable
from app.models import BatchOptions

COMMAND = (sys.executable, "-m", "app.solo")
CODING_SECONDS = 120
"""A decoder that takes longer is as good as dead."""
_MESSAGE_BYTES = 65_536
_PROJECT_DIR = Path(__file__).resolve().parents[1]  # not from config: the coder starts in a third


class CoderDied(PressroomError):
    """The coder ended, or was ended for taking too long, while it had an image."""


class SoloCoder:
    """A coder process, started when first needed and again after a death; for one image at a time.

    Leaving the context ends it, also in the middle of an image.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._is_closed = True
            self._end()

    def compress(
        self,
        source: bytes,
        target: BinaryIO,
        options: BatchOptions,
        limits: Limits,
        *,
        jpeg_optimize: bool,
    ) -> Compressed:
        """As `app.compress.compress`; raises CoderDied besides."""
        with self._lock:
            channel = self._channel or self._begin()
        with os.fdopen(os.memfd_create("source"), "w+b") as sent:
            sent.write(source)
            sent.flush()
            short = replace(options, image_columns=(), base_url=None)
            message = pickle.dumps((short, limits, jpeg_optimize))
            try:
                socket.send_fds(channel, [message], [sent.fileno(), target.fileno()])
                answer = channel.recv(_MESSAGE_BYTES)
            except OSError:
                answer = b""
        if not answer:
            with self._lock:
                self._end()
            raise CoderDied("the process that coded it died")
        return _result_of(answer)

    def _begin(self) -> socket.socket:
        if self._is_closed:
            raise CoderDied("the coder is not needed any more")
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        ours.settimeout(CODING_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (no part of it comes from a caller)
                [*COMMAND, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=_PROJECT_DIR
            )
        self._channel = ours
        return ours

    def _end(self) -> None:
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._channel = self._process = None


def _result_of(answer: bytes) -> Compressed:
    result = pickle.loads(answer)  # noqa: S301 (our own process wrote it)
    if isinstance(result, Compressed):
        return result
    kind, *details = result
    if kind == "disk":
        raise StorageUnavailable(*details)
    code, message, permanent = details
    raise ImageFailed(code, message, permanent=permanent)


def main() -> None:
    """The coder: answers each message, until whoever started it closes the socket or is gone."""
    with socket.socket(fileno=int(sys.argv[1])) as channel, suppress(OSError):
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
            if not message:
                return
            signal.alarm(CODING_SECONDS)  # ends a coder that loops, though nobody is left to do so
            channel.send(pickle.dumps(_answer(message, *descriptors)))
            signal.alarm(0)


def _answer(message: bytes, source: int, target: int) -> object:
    options, limits, jpeg_optimize = pickle.loads(message)  # noqa: S301 (from our own parent)
    with os.fdopen(source, "rb") as sent, os.fdopen(target, "w+b") as file:
        sent.seek(0)
        try:
            return compress(sent.read(), file, options, limits, jpeg_optimize=jpeg_optimize)
        except ImageFailed as error:
            return "image", error.code, str(error), error.permanent
        except OSError as error:
            return "disk", f"the disk refuses: {error.strerror}"


if __name__ == "__main__":
    main()
