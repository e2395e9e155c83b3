"""How hard each host may be worked: connections at once, pauses, and leaving alone what is down.

A host begins with a few connections. While its answers stay as fast it gets more; told to slow
down, by 429, 503 or time-outs, it gets half. What it asks to wait is waited for by all its images,
and one that only fails is left alone for a while. `sources` tells what came of each fetch; the
dispatcher holds back what has to wait.
"""

import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog

from app.dispatch import Dispatcher
from app.errors import ImageFailed
from app.models import ErrorCode

FIRST_CONNECTIONS = 8
AS_FAST = 1.5
"""An answer is as fast while a window's mean is within this multiple of the fastest window's …"""
SLACK_SECONDS = 0.02
"""… and this, which is our own machine's noise and not the host."""
FAST_ENOUGH_SECONDS = 0.005
"""Eight connections bring 1,600 images a second then; more would cost us a tenth (measured)."""
TOO_SLOW = 2.5
SMALL_BYTES = 100_000
FASTEST_FADES = 1.002
"""Each window; so that a host which became slower for good is not held to what it once was."""
STUCK = 10
"""A fetch that takes so many times what is usual no longer counts against its host's limit …"""
STUCK_SECONDS = 1.0
"""… if it is as long as this: a few URLs that drip do not hold up the others of their host."""
FAILURES_IN_A_ROW = 20
ALONE_SECONDS = 30
LONGEST_PAUSE_SECONDS = 60
"""Longer waits are not sat out: the images fail, to be tried again another day."""
REMEMBERED_HOSTS = 10_000

_SLOW_DOWN = frozenset({"http_429", "http_503", ErrorCode.TIMEOUT})
_DOWN = frozenset({ErrorCode.CONNECT, ErrorCode.DNS, ErrorCode.TIMEOUT})

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Pace:
    """Of answers of one kind: "not changed" comes faster than any image, and proves nothing.

    Seconds are sums over a window; those of answers are by their size as long as a small one takes.
    """

    fastest_seconds: float = math.inf
    answers: int = 0
    answer_seconds: float = 0
    fetch_seconds: float = 0

    def begin_window(self) -> None:
        self.answers, self.answer_seconds, self.fetch_seconds = 0, 0, 0


@dataclass(slots=True)
class _Host:
    limit: int
    grows_by_one: bool = False
    changed_at: float = 0
    whole: _Pace = field(default_factory=_Pace)
    unchanged: _Pace = field(default_factory=_Pace)
    failures: int = 0
    alone_until: float = 0
    answered_at: float = 0
    last_fault: tuple[str, str] | None = None  # not the exception, which holds all that failed


class Hosts:
    """What is known of each host, in this process. Safe to call from any thread."""

    def __init__(self, dispatcher: Dispatcher, most_connections: int):
        self._dispatcher = dispatcher
        self._most_connections = most_connections
        self._lock = threading.Lock()
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def check(self, name: str) -> None:
        """Raises ImageFailed for a host that is left alone, with the seconds until it is not."""
        with self._lock:
            host = self._hosts.get(name)
            seconds = host.alone_until - time.monotonic() if host else 0
            if host and host.last_fault and seconds > 0:
                code, message = host.last_fault
                raise ImageFailed(
                    code,
                    f"{message}; the host is left alone for {math.ceil(seconds)} s",
                    permanent=False,
                    retry_after_seconds=seconds,
                )

    def answered(
        self,
        name: str,
        began_at: float,
        seconds: float,
        size_bytes: int = 0,
        *,
        is_unchanged: bool = False,
    ) -> None:
        """The host answered a fetch; `began_at` by the monotonic clock.

        A large image takes its time from a fast host too: what counts is the time for a small one.
        """
        with self._lock:
            host = self._host(name)
            host.failures = 0
            host.answered_at = time.monotonic()
            if began_at >= host.changed_at:
                pace = host.unchanged if is_unchanged else host.whole
                pace.answers += 1
                pace.fetch_seconds += seconds
                pace.answer_seconds += seconds / (1 + size_bytes / SMALL_BYTES)
                if pace.answers >= max(4, host.limit):
                    self._judge_window(name, host, pace)

    def failed(self, name: str, began_at: float, fault: ImageFailed) -> None:
        """A fetch failed; 404 and the like are answers as good as any."""
        with self._lock:
            host = self._host(name)
            if fault.code not in _SLOW_DOWN | _DOWN and not fault.code.startswith("http_5"):
                host.failures = 0
                return
            host.failures += 1
            host.last_fault = (fault.code, str(fault))
            if fault.code in _SLOW_DOWN and began_at >= host.changed_at:
                host.grows_by_one = True
                self._set_limit(name, host, host.limit // 2)
                if fault.code != ErrorCode.TIMEOUT or host.answered_at < began_at:
                    self._dispatcher.set_patience(name, None)  # it is the host, and not one URL
            if fault.retry_after_seconds:
                self._wait(name, host, fault.retry_after_seconds)
            elif host.failures >= FAILURES_IN_A_ROW:
                self._leave_alone(name, host, ALONE_SECONDS)

    def _host(self, name: str) -> _Host:
        host = self._hosts.setdefault(name, _Host(min(FIRST_CONNECTIONS, self._most_connections)))
        self._hosts.move_to_end(name)
        if len(self._hosts) > REMEMBERED_HOSTS:
            forgotten, _ = self._hosts.popitem(last=False)
            self._dispatcher.set_limit(forgotten, None)
            self._dispatcher.set_patience(forgotten, None)
        return host

    def _judge_window(self, name: str, host: _Host, pace: _Pace) -> None:
        mean_seconds = pace.answer_seconds / pace.answers
        if pace is host.whole:
            usual_seconds = pace.fetch_seconds / pace.answers
            self._dispatcher.set_patience(name, max(STUCK * usual_seconds, STUCK_SECONDS))
        pace.begin_window()
        pace.fastest_seconds = min(pace.fastest_seconds * FASTEST_FADES, mean_seconds)
        if mean_seconds <= FAST_ENOUGH_SECONDS:
            return
        if mean_seconds <= pace.fastest_seconds * AS_FAST + SLACK_SECONDS:
            step = 1 if host.grows_by_one else host.limit
            self._set_limit(name, host, host.limit + step)
        elif mean_seconds > pace.fastest_seconds * TOO_SLOW + SLACK_SECONDS:
            host.grows_by_one = True
            fewer = host.limit - max(1, host.limit // 4)
            self._set_limit(name, host, max(fewer, min(FIRST_CONNECTIONS, host.limit)))

    def _set_limit(self, name: str, host: _Host, limit: int) -> None:
        """What began before says nothing of the new limit."""
        limit = min(max(1, limit), self._most_connections)
        if limit != host.limit:
            host.limit = limit
            host.changed_at = time.monotonic()
            for pace in (host.whole, host.unchanged):
                pace.begin_window()
            self._dispatcher.set_limit(name, limit)

    def _wait(self, name: str, host: _Host, seconds: float) -> None:
        if seconds <= LONGEST_PAUSE_SECONDS:
            self._dispatcher.pause(name, seconds)
        else:
            self._leave_alone(name, host, seconds)

    def _leave_alone(self, name: str, host: _Host, seconds: float) -> None:
        """After that one fetch at a time tells whether the host is back."""
        host.alone_until = time.monotonic() + seconds
        host.failures = FAILURES_IN_A_ROW - 1
        host.grows_by_one = True
        self._set_limit(name, host, 1)
        self._dispatcher.set_patience(name, None)
        log.info("host left alone", host=name, seconds=round(seconds))


def host_of(url: str) -> str:
    """Host and port, however they are written; what has none fails when it is fetched."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return parts.netloc
    return f"{parts.hostname}:{port}"
