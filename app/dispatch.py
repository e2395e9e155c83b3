"""Spreads calls over threads: fairly between groups, and never too many at once in one lane.

For images the groups are requests and the lanes hosts; for segments both are the request. Whichever
group has waited longest goes next, so that three images do not wait behind a hundred thousand.
Nothing queues inside the ThreadPoolExecutor: a call enters it when a thread is free.
"""

import heapq
import itertools
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import structlog

Work = Callable[[], None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Call:
    group: str
    lane: str
    work: Work


_Waiting = OrderedDict[str, deque[_Call]]
"""The calls of one group that wait, by lane."""


class Dispatcher:
    """Holds the thread pool and what waits for it. Safe to call from any thread."""

    def __init__(self, name: str, *, threads: int, per_lane: int):
        self._threads = threads
        self._per_group = threads - threads // 8  # the rest is there for whoever comes next
        self._per_lane = per_lane
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._groups: OrderedDict[str, _Waiting] = OrderedDict()
        self._limits: dict[str, int] = {}
        self._paused_until: dict[str, float] = {}
        self._busy_threads = 0
        self._busy_in_lane: Counter[str] = Counter()
        self._busy_of_group: Counter[str] = Counter()
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
        limit = self._limits.get(lane, self._per_lane)
        return self._busy_in_lane[lane] < limit and lane not in self._paused_until

    def _start_what_fits(self) -> None:
        while self._busy_threads < self._threads and (call := self._take_next()):
            self._busy_threads += 1
            self._pool.submit(self._run, call)

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
                    return call
        return None

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
            _decrease(self._busy_in_lane, done.lane)
            _decrease(self._busy_of_group, done.group)
            call = self._take_next()
            if call is None:
                self._busy_threads -= 1
            return call


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
            act()

    def _wait_for_next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopped:
                seconds = self._due[0][0] - time.monotonic() if self._due else None
                if seconds is not None and seconds <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(seconds)
        return None
