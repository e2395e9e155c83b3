"""The services, started in the background and shared by every request.

So the app can be made before a fork, and it answers while the database is away. One thread starts
the services, goes on trying while that fails, and then keeps asking their database: whoever needs
them meanwhile is answered 503 at once, and holds no web thread. `run.py` begins it, or the first
request that needs them.
"""

import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import cast

import structlog
from flask import current_app

from app.config import Settings
from app.errors import SettingsError, Unavailable
from app.services import Services, build, build_samples, build_storage
from app.sources import Samples
from app.storage import Storage

DATABASE_SECONDS = 5.0
"""What the database calls of a short request may take together."""
FIRST_START_SECONDS = 5.0
"""A private MongoDB server that reads its journal back may take longer; callers are told so."""
RETRY_SECONDS = 1.0
PING_SECONDS = 3.0
STOP_SECONDS = 10.0
NOT_SET_UP = "the service is not set up yet; its log says what is missing"

log = structlog.get_logger(__name__)


def _log_settings_error(error: SettingsError) -> None:
    """The reason is for the operator: it may name folders."""
    log.error("services cannot be built", reason=str(error))


class LazyServices:
    """Starts the services once, in a thread of its own. Safe to call from any thread.

    Given `services` are served as they are, and left to whoever made them.
    """

    def __init__(
        self,
        settings: Settings,
        services: Services | None = None,
        *,
        build: Callable[[Settings], Services] = build,
    ):
        self.settings = settings
        self._given = services
        self._build = build
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._started: Services | None = None
        self._is_tried = threading.Event()
        self._patient_until = 0.0
        self._fault = "the service is still starting; try again shortly"

    def begin(self, refuse: Callable[[SettingsError], None] = _log_settings_error) -> None:
        """Begins to start the services, if nobody has; `refuse` hears of unusable settings."""
        with self._lock:
            if self._thread or self._given or self._stopping.is_set():
                return
            self._patient_until = time.monotonic() + FIRST_START_SECONDS
            self._thread = threading.Thread(
                target=self._run, args=(refuse,), name="services", daemon=True
            )
            self._thread.start()

    def get(self, timeout_seconds: float = FIRST_START_SECONDS) -> Services:
        """The running services; only their first start is waited for.

        Raises Unavailable with the reason when they or their database cannot be had now.
        """
        if self._given:
            return self._given
        self.begin()
        patience_seconds = min(timeout_seconds, self._patient_until - time.monotonic())
        self._is_tried.wait(max(0.0, patience_seconds))
        if self._stopping.is_set():
            raise Unavailable("the service is stopping")
        if self._fault:
            raise Unavailable(self._fault)
        assert self._started
        return self._started

    @property
    def storage(self) -> Storage:
        """For what is served while the database is away; the services', once they run."""
        services = self._given or self._started
        return services.storage if services else self._own_storage

    @cached_property
    def _own_storage(self) -> Storage:
        return build_storage(self.settings)

    @cached_property
    def samples(self) -> Samples:
        return self._given.samples if self._given else build_samples(self.settings)

    def stop(self) -> None:
        """Stops what was started here; nothing starts any more."""
        with self._lock:
            self._stopping.set()
        if self._thread:
            self._thread.join(STOP_SECONDS)
        if self._started:
            self._started.stop()

    def _run(self, refuse: Callable[[SettingsError], None]) -> None:
        while not self._stopping.is_set():
            fault = self._find_fault(refuse)
            if fault and fault != self._fault:
                log.warning("services wait", reason=fault)
            self._fault = fault
            self._is_tried.set()
            self._stopping.wait(RETRY_SECONDS)

    def _find_fault(self, refuse: Callable[[SettingsError], None]) -> str:
        """Starts the services or, once they run, asks their database; empty when all is well."""
        try:
            if self._started:
                self._started.database.ping(PING_SECONDS)
            else:
                services = self._build(self.settings)
                services.start()
                self._started = services
        except SettingsError as error:
            refuse(error)
            return NOT_SET_UP
        except Unavailable as error:
            return str(error)
        except Exception:  # the edge of the thread: nobody else would hear of it
            log.exception("services failed to start")
            return NOT_SET_UP
        return ""


def lazy_services() -> LazyServices:
    """Those of the app that serves the present request."""
    return cast(LazyServices, current_app.extensions["pressroom"])


def readers() -> threading.BoundedSemaphore | None:
    """Permits to read from a bucket on a web thread; None where files lie in folders."""
    return cast(threading.BoundedSemaphore | None, current_app.extensions["pressroom_readers"])


def slots() -> threading.BoundedSemaphore:
    """Permits to hold a web thread for long; never waited for."""
    return cast(threading.BoundedSemaphore, current_app.extensions["pressroom_slots"])
