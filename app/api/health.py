"""`GET /healthz`: the process answers. `GET /readyz`: it can do its work, or what it lacks."""

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog
from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.api.described import Reply, describe
from app.api.lazy import NOT_SET_UP, LazyServices, lazy_services
from app.api.owner import open_to_all
from app.api.parsing import NoParameters, read_query
from app.api.replies import Alive, Readiness
from app.errors import PressroomError, Unavailable
from app.outbound import find_ca_bundle

PATIENCE_SECONDS = 1.5

blueprint = Blueprint("health", __name__)
log = structlog.get_logger(__name__)


@blueprint.get("/healthz")
@describe("service", "Whether the process answers", replies={200: Reply("it does", (Alive,))})
@open_to_all
def show_health() -> ResponseReturnValue:
    read_query(NoParameters)
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
@describe(
    "service",
    "Whether it can do its work, or what it lacks",
    replies={
        200: Reply("it can", (Readiness,)),
        503: Reply("it lacks what error and checks name", (Readiness,)),
    },
)
@open_to_all
def show_readiness() -> ResponseReturnValue:
    read_query(NoParameters)
    lazy = lazy_services()
    wanted = _CHECKS | (_CELERY_CHECKS if lazy.settings.engine == "celery" else {})
    checks = {name: _verdict(check, lazy) for name, check in wanted.items()}
    faults = [f"{name}: {verdict}" for name, verdict in checks.items() if verdict != "ok"]
    if faults:
        return jsonify({"ready": False, "error": "; ".join(faults), "checks": checks}), 503
    return jsonify({"ready": True, "checks": checks})


def _verdict(check: Callable[[LazyServices], None], lazy: LazyServices) -> str:
    try:
        check(lazy)
    except PressroomError as error:
        return str(error)
    except Exception:  # a probe is answered whatever is broken
        log.exception("readiness check failed")
        return NOT_SET_UP
    return "ok"


def _check_database(lazy: LazyServices) -> None:
    lazy.get(PATIENCE_SECONDS).database.ping(PATIENCE_SECONDS)


def _check_broker(lazy: LazyServices) -> None:
    lazy.get(PATIENCE_SECONDS).engine.check()


def _check_storage(lazy: LazyServices) -> None:
    lazy.storage.try_out()


def _check_disk(lazy: LazyServices) -> None:
    """Also where uploads wait until they are read, and the private MongoDB server writes."""
    lazy.storage.check_room()
    data_dir, least_bytes = lazy.settings.data_dir, lazy.settings.min_free_bytes
    if data_dir.is_dir() and (free_bytes := shutil.disk_usage(data_dir).free) < least_bytes:
        raise Unavailable(
            f"the disk of DATA_DIR has {free_bytes:,} bytes free, fewer than "
            f"MIN_FREE_BYTES={least_bytes}; make room or lower it"
        )


def _check_ca_bundle(lazy: LazyServices) -> None:
    bundle = lazy.settings.ca_bundle or find_ca_bundle()
    if not bundle or not Path(bundle).is_file():
        raise Unavailable(
            "no file of trusted authorities, so that https fails; install ca-certificates or set "
            "CA_BUNDLE"
        )


_CHECKS = {
    "database": _check_database,
    "storage": _check_storage,
    "disk": _check_disk,
    "ca_bundle": _check_ca_bundle,
}
_CELERY_CHECKS = {"broker": _check_broker}
