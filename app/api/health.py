"""`GET /healthz`: the process answers. `GET /readyz`: it can do its work, or what it lacks."""

from collections.abc import Callable
from pathlib import Path

import structlog
from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.api.lazy import NOT_SET_UP, LazyServices, lazy_services
from app.api.owner import open_to_all
from app.api.parsing import NoParameters, read_query
from app.errors import PressroomError, Unavailable
from app.outbound import find_ca_bundle

PATIENCE_SECONDS = 1.5
_PROBE_BYTES = 65_536

blueprint = Blueprint("health", __name__)
log = structlog.get_logger(__name__)


@blueprint.get("/healthz")
@open_to_all
def show_health() -> ResponseReturnValue:
    read_query(NoParameters)
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
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
    for area in ("uploads", "processed", "outputs"):
        with lazy.storage.create(area) as file:
            file.write(bytes(_PROBE_BYTES))  # on a full disk an empty file can still be made
            file.flush()


def _check_disk(lazy: LazyServices) -> None:
    lazy.storage.check_room()


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
