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
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import structlog
from pymongo.errors import PyMongoError

from app.database import mongod
from app.errors import Conflict, DatabaseUnavailable, SettingsError

if sys.platform != "win32":
    import fcntl

log = structlog.get_logger(__name__)

_HANDOVER_TIMEOUT_SECONDS = 15  # how long a dying mongod may still hold its files
_ORPHAN_GRACE_SECONDS = 0.5  # within it the parent-death signal has done its work
_STOP_TIMEOUT_SECONDS = 10
_MAX_LOG_BYTES = 4 << 20
_MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107 on Linux, 103 on macOS


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
            raise SettingsError(
                f"There is no private MongoDB server on Windows. {mongod.ELSEWHERE}"
            )
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

    @contextmanager
    def kept_from_running(self) -> Iterator[None]:
        """Holds the ownership without a server, to exchange its files. Raises Conflict."""
        with self._mutex:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._take():
                raise Conflict("the service is running on this DATA_DIR; stop it first")
            try:
                yield
            finally:
                self._give_up()

    def _runs(self) -> bool:
        """Whether this process owns a living server that can still be reached."""
        return (
            self._process is not None
            and self._process.poll() is None
            and self._socket is not None
            and mongod.accepts(self._socket)
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
        deadline = time.monotonic() + mongod.START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            place = self._recorded_socket()
            if place is not None and mongod.answers(place):
                return place
            time.sleep(mongod.POLL_SECONDS)
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
        command = mongod.command_line(
            mongod.make_executable(mongod.find_mongod(), self._home), files, place
        )

        library_path = ""
        while True:
            self._bound_log()
            log_start = log_path.stat().st_size if log_path.exists() else 0
            self._process = mongod.spawn(command, library_path, log_path)
            if mongod.becomes_ready(self._process, place):
                break
            reason = mongod.read_reason(log_path, log_start)
            if "libcurl.so.4:" in reason and not library_path:
                library_path = mongod.link_bundled_libcurl(self._home)
                if library_path:
                    continue
            waited = time.monotonic() - started
            # The mongod of an owner that was killed may take a moment to be gone.
            if "DBPathInUse" not in reason or waited > _HANDOVER_TIMEOUT_SECONDS:
                raise mongod.failure(self._process.returncode, reason)
            time.sleep(mongod.POLL_SECONDS)
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


def _shut_down_orphan(place: Path) -> None:
    """Ends a server whose owner is gone; it lives on where no signal tells of a parent's death."""
    deadline = time.monotonic() + _ORPHAN_GRACE_SECONDS
    while mongod.accepts(place):
        if time.monotonic() > deadline:
            with suppress(PyMongoError), mongod.connect(place) as client:
                client.admin.command("shutdown", force=True)
            return
        time.sleep(mongod.POLL_SECONDS)
