"""The engine on a broker: `celery -A app.engine.celery worker` runs segments, on any machine.

What enters is a segment's id, what leaves is a message that some worker takes (`celery_worker`).
The queue only makes work soon: what it loses the sweeper submits again, and what comes twice finds
its segment claimed, or done.
"""

import logging
import sys
import threading
import time
import warnings
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning
from celery.utils.log import get_multiprocessing_logger

from app.config import Settings, read_settings
from app.errors import BrokerUnavailable, SettingsError

__all__ = ["RUN_SEGMENT", "CeleryEngine", "app", "calm_logs", "signals"]

RUN_SEGMENT = "run_segment"
QUEUE = "pressroom"
VISIBILITY_SECONDS = 600
"""Longer than a worker keeps a message: 500 images, of which one comes a second at least."""
SOFT_STOP_SECONDS = 20
"""Unfinished segments are put back in less."""
BROKER_SECONDS = 2
"""What one call of the broker may take; a thread of its own waits for it, and no other."""
LOOK_SECONDS = 1.0
SAY_AGAIN_SECONDS = 30
"""While others wait in the queue, what was said is taken for being among them."""
MOST_WAITING = 10_000
"""More in the queue would make nothing sooner, and fill the broker where no worker runs."""
STOP_SECONDS = 3

log = structlog.get_logger(__name__)


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's own settings. Nothing is pickled, and no result is kept."""
    url = settings.celery_broker_url.get_secret_value()
    options = {"visibility_timeout": VISIBILITY_SECONDS, "socket_timeout": BROKER_SECONDS}
    return {
        "broker_url": url,
        "broker_transport_options": {} if url.startswith("amqp") else options,
        "broker_connection_timeout": BROKER_SECONDS,
        "broker_connection_max_retries": None,  # the default gives up for ever after a hundred
        "broker_connection_retry_on_startup": True,
        "include": ["app.celery_worker"],
        "accept_content": ["json"],
        "task_default_queue": QUEUE,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "task_publish_retry": False,
        "worker_concurrency": settings.worker_processes or settings.compress_workers,
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": SOFT_STOP_SECONDS,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
    }


def _worker_configuration() -> dict[str, Any]:
    try:
        return configuration(read_settings(engine="celery"))
    except SettingsError as error:
        sys.exit(f"Pressroom's worker cannot start: {error}")


app = Celery("pressroom", set_as_current=False)
"""What the command `celery -A app.engine.celery worker` runs; settings are read when it does."""
app.add_defaults(_worker_configuration)


def calm_logs() -> None:
    """Leaves out what Celery says of each message, and sends what its pool says the usual way."""
    warnings.simplefilter("ignore", CPendingDeprecationWarning)  # of a default we do not use
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("celery.worker.request").setLevel(logging.CRITICAL)  # the pool says it too
    pool = get_multiprocessing_logger()
    pool.setLevel(logging.WARNING)
    pool.propagate = True


class CeleryEngine:
    """Says segments to the broker, from one thread: a broker that hangs holds nobody else up.

    Make it after a fork, never before.
    """

    def __init__(self, settings: Settings):
        self._celery = Celery("pressroom", set_as_current=False)
        self._celery.conf.update(configuration(settings))
        is_amqp = self._celery.conf.broker_url.startswith("amqp")
        limits = ("read_timeout", "write_timeout") if is_amqp else ("socket_timeout",)
        self._patience = dict.fromkeys(limits, BROKER_SECONDS)
        self._connection: Any = None
        self._changed = threading.Condition()
        self._to_say: dict[str, None] = {}
        self._said_at: dict[str, float] = {}
        self._fault: str | None = None
        self._has_looked = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()

    def submit(self, segment_id: str) -> None:
        with self._changed:
            if segment_id not in self._said_at:
                self._to_say[segment_id] = None
                self._changed.notify()

    def check(self) -> None:
        self._has_looked.wait(BROKER_SECONDS)
        if self._fault or not self._has_looked.is_set():
            raise BrokerUnavailable("the message broker of CELERY_BROKER_URL does not answer")

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._is_stopped:
            try:
                self._say()
                self._tell(None)
            except Exception as error:  # noqa: BLE001 (each transport raises its own)
                self._tell(f"{type(error).__name__}: {error}")
                self._forget()
            with self._changed:
                self._changed.wait_for(lambda: self._to_say or self._is_stopped, LOOK_SECONDS)
        self._forget()

    def _say(self) -> None:
        if self._connection is None:
            self._connection = self._celery.connection_for_write(transport_options=self._patience)
        channel = self._connection.default_channel
        waiting = self._celery.amqp.default_queue(channel).queue_declare().message_count
        now = time.monotonic()
        with self._changed:
            keep_seconds = SAY_AGAIN_SECONDS if waiting else LOOK_SECONDS
            self._said_at = {k: at for k, at in self._said_at.items() if now - at < keep_seconds}
            segment_ids, self._to_say = self._to_say, {}
            if waiting > MOST_WAITING:
                return
            self._said_at |= dict.fromkeys(segment_ids, now)
        producer = self._celery.amqp.Producer(channel)
        for segment_id in segment_ids:
            self._celery.send_task(RUN_SEGMENT, (segment_id,), producer=producer)

    def _forget(self) -> None:
        """The connection, and what it may have swallowed: the sweeper submits that again."""
        with self._changed:
            self._to_say.clear()
            self._said_at.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it may be broken already
                connection.release()

    def _tell(self, fault: str | None) -> None:
        if fault and not self._fault:
            log.warning("broker away", reason=fault)
        elif self._fault and not fault:
            log.info("broker back")
        self._fault = fault
        self._has_looked.set()
