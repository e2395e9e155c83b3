"""The services, started by the first request that needs them and shared by all that follow.

So the app can be made before a fork, and it starts while the database is away: a request is then
answered 503, and the next one tries again. `run.py` begins in the background, and stops it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import cast

from flask import current_app

from app.config import Settings
from app.errors import PressroomError, Unavailable
from app.services import Services, build, build_samples, build_storage
from app.sources import Samples
from app.storage import Storage

PATIENCE_SECONDS = 30.0
"""A private MongoDB server that reads its journal back may take longer; callers are told so."""
STOP_SECONDS = 10.0


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
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="start")
        self._starting: Future[Services] | None = None
        self._is_stopped = False

    def get(self, timeout_seconds: float = PATIENCE_SECONDS) -> Services:
        """The running services. Raises Unavailable when they cannot be had now, SettingsError."""
        if self._given:
            return self._given
        try:
            return self._begin().result(timeout_seconds)
        except TimeoutError as error:
            raise Unavailable("the service is still starting; try again shortly") from error

    @cached_property
    def storage(self) -> Storage:
        """For what is served while the database is away."""
        return self._given.storage if self._given else build_storage(self.settings)

    @cached_property
    def samples(self) -> Samples:
        return self._given.samples if self._given else build_samples(self.settings)

    def stop(self) -> None:
        """Stops what was started here; nothing starts any more."""
        with self._lock:
            self._is_stopped = True
            starting = self._starting
        self._starter.shutdown(wait=False)
        if starting:
            with suppress(PressroomError, TimeoutError):
                starting.result(STOP_SECONDS).stop()

    def _begin(self) -> Future[Services]:
        """The start that is done or under way; a new one when the last has failed."""
        with self._lock:
            if self._is_stopped:
                raise Unavailable("the service is stopping")
            if self._starting is None or (self._starting.done() and self._starting.exception()):
                self._starting = self._starter.submit(self._start)
            return self._starting

    def _start(self) -> Services:
        services = self._build(self.settings)
        services.start()
        return services


def lazy_services() -> LazyServices:
    """Those of the app that serves the present request."""
    return cast(LazyServices, current_app.extensions["pressroom"])


def slots() -> threading.BoundedSemaphore:
    """Permits to hold a web thread for long; never waited for."""
    return cast(threading.BoundedSemaphore, current_app.extensions["pressroom_slots"])
