"""Spreads calls over threads: fairly between groups, and never too many at once in one lane.

For images the groups are requests and the lanes hosts; for segments both are the request. Whichever
group has waited longest goes next, so that three images do not wait behind a hundred thousand.
Nothing queues inside the ThreadPoolExecutor: a call enters it when a thread is free. A call that
takes beyond all patience is set aside: it goes on, but others of its lane begin in its place.
"""

import heapq
import itertools
import math
import os
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

Work = Callable[[], None]

log = structlog.get_logger(__name__)


LOOK_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class _Call:
    group: str
    lane: str
    work: Work
    began_at: float = 0
    is_aside: bool = False


_Waiting = OrderedDict[str, deque[_Call]]
"""The calls of one group that wait, by lane."""


class Dispatcher:
    """Holds the thread pool and what waits for it. Safe to call from any thread.

    In one lane run at most `per_lane` calls, or what `set_limit` has said since; with those that
    were set aside at most `most_per_lane`, without which none is.
    """

    def __init__(self, name: str, *, threads: int, per_lane: int, most_per_lane: int = 0):
        self._threads = threads
        self._per_group = threads - threads // 8  # the rest is there for whoever comes next
        self._per_lane = per_lane
        self._most_per_lane = most_per_lane
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_step_back)
        self._lock = threading.Lock()
        self._groups: OrderedDict[str, _Waiting] = OrderedDict()
        self._limits: dict[str, int] = {}
        self._patience_seconds: dict[str, float] = {}
        self._paused_until: dict[str, float] = {}
        self._busy_threads = 0
        self._busy_in_lane: Counter[str] = Counter()
        self._busy_of_group: Counter[str] = Counter()
        self._aside_in_lane: Counter[str] = Counter()
        self._running: set[_Call] = set()
        self._is_looking = False
        self._later = _Timer()

    @property
    def busy(self) -> int:
        """How many calls run."""
        return self._busy_threads

    def submit(self, group: str, lane: str, work: Work, *, after_seconds: float = 0) -> None:
        """Runs `work` in a thread, in turn. It must not raise: nobody would hear of it.

        What has waited `after_seconds`, as it is tried again, goes before what is new.
        """
        call = _Call(group, lane, work)
        if after_seconds:
            self._later.call(after_seconds, partial(self._enqueue_first, call))
        else:
            self._enqueue(call)

    def set_limit(self, lane: str, limit: int | None) -> None:
        """How many calls of one lane run at once from now on; None is what all begin with."""
        with self._lock:
            if limit is None:
                self._limits.pop(lane, None)
            else:
                self._limits[lane] = limit
            self._start_what_fits()

    def set_patience(self, lane: str, seconds: float | None) -> None:
        """From when on a call of that lane is set aside; None is never, as all begin."""
        with self._lock:
            if seconds is None:
                self._patience_seconds.pop(lane, None)
            else:
                self._patience_seconds[lane] = seconds

    def pause(self, lane: str, seconds: float) -> None:
        """Begins no call of a lane for so long."""
        until = time.monotonic() + seconds
        with self._lock:
            self._paused_until[lane] = max(until, self._paused_until.get(lane, 0))
        self._later.call(seconds, partial(self._end_pause, lane))

    def stop(self) -> None:
        """Drops what waits; what runs ends by itself."""
        self._later.stop()
        with self._lock:
            self._groups.clear()
        self._pool.shutdown(wait=False)

    def _enqueue(self, call: _Call) -> None:
        with self._lock:
            group = self._groups.setdefault(call.group, OrderedDict())
            group.setdefault(call.lane, deque()).append(call)
            self._start_what_fits()

    def _enqueue_first(self, call: _Call) -> None:
        """One that comes again has waited already."""
        with self._lock:
            group = self._groups.setdefault(call.group, OrderedDict())
            group.setdefault(call.lane, deque()).appendleft(call)
            group.move_to_end(call.lane, last=False)
            self._start_what_fits()

    def _end_pause(self, lane: str) -> None:
        """Unless a later one has begun."""
        with self._lock:
            if self._paused_until.get(lane, 0) <= time.monotonic():
                self._paused_until.pop(lane, None)
                self._start_what_fits()

    def _has_room(self, lane: str) -> bool:
        busy, aside = self._busy_in_lane[lane], self._aside_in_lane[lane]
        return (
            busy < self._limits.get(lane, self._per_lane)
            and not (aside and busy + aside >= self._most_per_lane)
            and lane not in self._paused_until
        )

    def _start_what_fits(self) -> None:
        while self._busy_threads < self._threads and (call := self._take_next()):
            self._busy_threads += 1
            try:
                self._pool.submit(self._run, call)
            except RuntimeError as error:  # no further thread can be had: those there will run it
                log.warning("call waits for a thread", group=call.group, reason=str(error))
                return

    def _take_next(self) -> _Call | None:
        """The next call of the first group in the rotation that has a lane with room."""
        for name, group in self._groups.items():
            if self._busy_of_group[name] >= self._per_group:
                continue
            for lane, calls in group.items():
                if self._has_room(lane):
                    call = calls.popleft()
                    self._move_back(name, group, lane)
                    self._busy_in_lane[lane] += 1
                    self._busy_of_group[name] += 1
                    self._watch(call)
                    return call
        return None

    def _watch(self, call: _Call) -> None:
        if self._most_per_lane:
            call.began_at = time.monotonic()
            self._running.add(call)
            if not self._is_looking:
                self._is_looking = True
                self._later.call(LOOK_SECONDS, self._set_slow_aside)

    def _set_slow_aside(self) -> None:
        """Looks at all that run, as a timer for each would cost more than most calls do."""
        with self._lock:
            now = time.monotonic()
            for call in self._running:
                patience_seconds = self._patience_seconds.get(call.lane, math.inf)
                if not call.is_aside and now - call.began_at > patience_seconds:
                    call.is_aside = True
                    _decrease(self._busy_in_lane, call.lane)
                    self._aside_in_lane[call.lane] += 1
            self._start_what_fits()
            self._is_looking = bool(self._running)
            if self._is_looking:
                self._later.call(LOOK_SECONDS, self._set_slow_aside)

    def _move_back(self, name: str, group: _Waiting, lane: str) -> None:
        """The others go first next time; what is empty is forgotten."""
        group.move_to_end(lane)
        if not group[lane]:
            del group[lane]
        self._groups.move_to_end(name)
        if not group:
            del self._groups[name]

    def _run(self, call: _Call | None) -> None:
        """One call after the other, without waking another thread for each."""
        while call:
            try:
                call.work()
            except Exception:  # the edge of the thread: its place must not be lost
                log.exception("call failed", group=call.group, lane=call.lane)
            call = self._go_on(call)

    def _go_on(self, done: _Call) -> _Call | None:
        """The next call for the same thread."""
        with self._lock:
            _decrease(self._aside_in_lane if done.is_aside else self._busy_in_lane, done.lane)
            self._running.discard(done)
            _decrease(self._busy_of_group, done.group)
            call = self._take_next()
            if call is None:
                self._busy_threads -= 1
            return call


def _step_back() -> None:
    """A thread that wakes, since something has arrived, interrupts no other (Linux).

    Its turn comes soon enough. An interruption costs the caches, and may hit the thread that has
    the interpreter, for which all others then wait. Threads that it begins, such as those that
    code, inherit this; those of the web do not have it, and go first.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a kernel or container that knows no policies, or allows none
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _decrease(counter: "Counter[str]", name: str) -> None:
    """Forgets what comes to nothing: there are as many names as hosts and requests."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


class _Timer:
    """Does things when their time has come; one thread, begun with the first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call(self, after_seconds: float, act: Callable[[], None]) -> None:
        with self._changed:
            at = time.monotonic() + after_seconds
            heapq.heappush(self._due, (at, next(self._numbers), act))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="later", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (act := self._wait_for_next()) is not None:
            try:
                act()
            except Exception:  # the edge of the thread: what is due later would never come
                log.exception("timer failed")

    def _wait_for_next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopped:
                seconds = self._due[0][0] - time.monotonic() if self._due else None
                if seconds is not None and seconds <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(seconds)
        return None
