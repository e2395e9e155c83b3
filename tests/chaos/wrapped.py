"""The real service with faults built in: `python wrapped.py`, in the folder of a checkout.

`CHAOS_PLAN` is a JSON object, all of it optional:

    die_at, die_on     the name of a step, and which time round the process ends at it (1)
    kill_mongod_at     the name of a step, at which the private server is killed once (-9)
    commit_unheard     the commit of an upload is applied, and its acknowledgement lost, once
    lease_seconds      instead of 15, and renewed at a third of it
    webhook_waits      instead of the schedule's
    webhook_hold       seconds, instead of 60, after which an unrecorded try is made again
    killer             bytes in a source that end the process which codes it

Its worker processes are `python wrapped.py worker`, the coders of suspects `… coder <descriptor>`.
"""

import json
import os
import signal
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

import app.compress
import app.database.batches
import app.database.leases
import app.engine.processes
import app.services
import app.serving
import app.solo
import app.storage.local
import app.webhooks
import app.worker
from app.database.batches import Batches
from app.database.control import Control
from app.database.products import Products
from app.database.results import Results
from app.database.segments import Segments
from app.errors import DatabaseUnavailable
from app.intake import Intake
from app.outbound import Outbound
from app.solo import SoloCoder
from app.sources import Sources
from app.storage.local import LocalStorage

EXIT_CODE = 9

BEFORE_THE_COMMIT = [
    "intake marked",
    "upload stored",
    "products inserted",
    "segments inserted",
]
AFTER_THE_COMMIT = [
    "committed",
    "segment claimed",
    "rows fenced",
    "urls claimed",
    "image fetched",
    "image coded",
    "temporary file written",
    "file synced",
    "file named",
    "folder synced",
    "results recorded by URL",
    "results recorded by row",
    "counts set",
    "segment done",
    "finish claimed",
    "output CSV put",
    "request ended",
    "webhook claimed",
    "webhook sent",
    "webhook recorded",
]
"""The write order; a step's name says what has just been done."""


OF_A_CANCEL = [
    "cancel marked",
    "rows cancelled",
    "segment done",
    "finish claimed",
    "output CSV put",
    "request ended",
]
OF_A_RETRY = [
    "retry marked",
    "rows reopened",
    "segments reopened",
    "reopening ended",
    "urls claimed",
]
OF_A_REMOVAL = [
    "removal marked",
    "folder deleted",
    "products deleted",
    "segments deleted",
    "results deleted",
    "request forgotten",
]
"""What a caller asks for, likewise; the steps of others among them come after its own first."""

STEPS = {*BEFORE_THE_COMMIT, *AFTER_THE_COMMIT, *OF_A_CANCEL, *OF_A_RETRY, *OF_A_REMOVAL}


class Steps:
    """Does something at one step, once."""

    def __init__(self, awaited, times_round, act):
        self._awaited = awaited
        self._left = times_round
        self._act = act
        self._lock = threading.Lock()

    def reached(self, step):
        if step != self._awaited:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._act()

    def after(self, owner, name, step, when=lambda _result, *_arguments: True):
        """Has a function reach a step whenever it returns, `when` that counts."""
        function = getattr(owner, name)

        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            if when(result, *args):
                self.reached(step)
            return result

        setattr(owner, name, call)

    def watch(self):
        self.after(Batches, "begin", "intake marked")
        self.after(Intake, "_store_file", "upload stored")
        self.after(Products, "insert", "products inserted")
        self.after(Segments, "insert", "segments inserted")
        self.after(Batches, "commit", "committed")
        self.after(Segments, "claim", "segment claimed", _found)
        self.after(Products, "take_over", "rows fenced")
        self.after(Results, "claim", "urls claimed")
        self.after(Sources, "fetch", "image fetched")
        for module in modules_with("compress", app.compress.compress):
            self.after(module, "compress", "image coded")
        self.after(SoloCoder, "compress", "image coded")
        self.after(app.storage.local.Draft, "write", "temporary file written")
        self.after(os, "fsync", "file synced", _is_image_file)
        self.after(os, "rename", "file named", _is_image)
        self.after(os, "fsync", "folder synced", _is_image_folder)
        self.after(Results, "record", "results recorded by URL")
        self.after(Products, "record", "results recorded by row")
        self.after(Segments, "progress", "counts set")
        self.after(Segments, "finish", "segment done")
        self.after(Batches, "claim_finish", "finish claimed", _found)
        self.after(LocalStorage, "put", "output CSV put", _is_output)
        self.after(Batches, "end", "request ended")
        self.after(Batches, "claim_webhook", "webhook claimed", _found)
        self.after(Outbound, "post", "webhook sent")
        self.after(Batches, "record_webhook", "webhook recorded")
        self.after(Control, "cancel", "cancel marked")
        self.after(Products, "cancel", "rows cancelled")
        self.after(Control, "retry", "retry marked")
        self.after(Products, "reopen", "rows reopened")
        self.after(Segments, "reopen", "segments reopened")
        self.after(Control, "end_reopening", "reopening ended")
        self.after(Control, "remove", "removal marked")
        self.after(LocalStorage, "delete", "folder deleted")
        self.after(Products, "delete", "products deleted")
        self.after(Segments, "delete", "segments deleted")
        self.after(Results, "delete", "results deleted")
        self.after(Batches, "forget", "request forgotten")


def _found(result, *_):
    return result is not None


def _is_image(_result, _temporary, name):
    return "/processed/" in str(name)


def _is_output(_result, _storage, key, _file):
    return key.startswith("outputs/")


def _is_image_file(_result, descriptor):
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    return is_file and "/processed/" in _path(descriptor)


def _is_image_folder(_result, descriptor):
    """A request's folder; `processed` itself is synced when that is made."""
    is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    return is_folder and "/processed/" in _path(descriptor)


def _path(descriptor):
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def die():
    os._exit(EXIT_CODE)


def kill_mongod():
    """The one that this process has started."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                name, _, rest = (entry / "stat").read_text().rpartition(")")
                if name.endswith("(mongod") and int(rest.split()[1]) == os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)


def lose_the_acknowledgement_of_a_commit():
    commit = Batches.commit
    lost = threading.Event()

    def call(*args, **kwargs):
        commit(*args, **kwargs)
        if not lost.is_set():
            lost.set()
            raise DatabaseUnavailable("the connection broke after the write")

    Batches.commit = call


def shorten_leases(seconds):
    app.database.leases.lease.__defaults__ = (seconds,)
    for module in modules_with("ORPHAN_SECONDS"):
        module.ORPHAN_SECONDS = 2 * seconds
    for module in modules_with("RENEW_SECONDS"):
        module.RENEW_SECONDS = seconds / 3


def modules_with(name, value=None):
    """Those of the service that know a constant or function by its own name, whatever module."""
    modules = [module for key, module in sys.modules.items() if key.startswith("app.")]
    found = [module for module in modules if name in vars(module)]
    found = [module for module in found if value in (None, getattr(module, name))]
    assert found, f"nobody knows {name}"
    return found


def die_of(marker):
    for module in modules_with("compress", app.compress.compress):
        module.compress = _dying_of(marker, app.compress.compress)


def _dying_of(marker, compress):
    def call(source, *args, **kwargs):
        if marker in source:
            os.kill(os.getpid(), signal.SIGKILL)
        return compress(source, *args, **kwargs)

    return call


def wrap_children_too():
    engine = app.services.ProcessEngine
    worker = [sys.executable, __file__, "worker"]
    app.services.ProcessEngine = lambda _command, count: engine(worker, count)
    app.solo.COMMAND = (sys.executable, __file__, "coder")


def main():
    plan = json.loads(os.environ["CHAOS_PLAN"])
    child = sys.argv.pop(1) if len(sys.argv) > 1 else None
    if "killer" in plan:
        die_of(plan["killer"].encode())
    if child == "coder":
        app.solo.main()
        return
    for name, act in (("die_at", die), ("kill_mongod_at", kill_mongod)):
        if plan.get(name):
            assert plan[name] in STEPS
            Steps(plan[name], plan.get("die_on", 1), act).watch()
    if plan.get("commit_unheard"):
        lose_the_acknowledgement_of_a_commit()
    if "lease_seconds" in plan:
        shorten_leases(plan["lease_seconds"])
    if "webhook_waits" in plan:
        app.webhooks.WAITS_SECONDS = tuple(plan["webhook_waits"])
    if "webhook_hold" in plan:
        app.database.batches.WEBHOOK_LEASE_SECONDS = plan["webhook_hold"]
    wrap_children_too()
    sys.exit(app.worker.main() if child == "worker" else app.serving.main())


if __name__ == "__main__":
    main()
