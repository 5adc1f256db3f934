"""Progress tracker: an actor that sums the counters of the workers of each pool, for the driver.

Workers report once a second. A report is idempotent: it holds all counters of its worker, and counters only grow.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from safechain_ray.cluster.nodes import beside_driver
from safechain_ray.engines.start import LOADED

REPORT_INTERVAL = 1.0

HEARTBEAT_TIMEOUT = 20.0
"""Seconds without a report after which a worker counts as dead."""

MAX_NOTES = 100
"""Notes of one pool that are kept, as engines may fail again and again."""


@dataclass(frozen=True, slots=True)
class PoolProgress:
    """Sums over the workers of one pool, restarted ones included.

    `placed` workers run on a node. `ready` workers among them have an engine that answers. `notes` are sentences for
    the driver's screen, oldest first. `loaded_megabytes` grows while engines load.
    """

    ready: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    placed: int = 0
    notes: tuple[str, ...] = ()
    loaded_megabytes: int = 0


class ProgressTracker:
    """The latest counters of every worker.

    A worker without a report for `HEARTBEAT_TIMEOUT` counts as dead: it is not ready, and its rows are not in flight.
    Ray sends these rows to other workers, which count them again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers: dict[str, tuple[float, str, bool, Counter[str]]] = {}
        self._notes: dict[str, list[str]] = defaultdict(list)

    def note(self, pool: str, sentence: str) -> None:
        if len(self._notes[pool]) < MAX_NOTES:
            self._notes[pool].append(sentence)

    def report(self, pool: str, worker: str, ready: bool, counts: Counter[str]) -> None:
        self._workers[worker] = (self._clock(), pool, ready, counts)

    def progress(self) -> dict[str, PoolProgress]:
        pools: dict[str, PoolProgress] = {}
        for last_heartbeat, pool, ready, counts in self._workers.values():
            is_dead = self._clock() - last_heartbeat > HEARTBEAT_TIMEOUT
            if is_dead:
                ready, counts = False, Counter({**counts, "rows_in": counts["rows_out"]})
            before = pools.get(pool, PoolProgress())
            pools[pool] = PoolProgress(before.ready + ready, before.counts + counts, before.placed + (not is_dead))
        return {
            pool: replace(seen, notes=tuple(self._notes[pool]), loaded_megabytes=seen.counts.pop(LOADED, 0))
            for pool, seen in pools.items()
        }


def start_progress_tracker() -> Any:
    """The tracker as a Ray actor. It takes no CPU of the plan, and lives as long as the driver's node."""
    return beside_driver(ProgressTracker)


class ProgressReporter:
    """A worker's client of the tracker: counts locally, and reports once a second from a thread."""

    def __init__(self, progress_tracker: Any, pool: str) -> None:
        self._progress_tracker = progress_tracker
        self._pool = pool
        self._worker = uuid4().hex
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._ready = False
        threading.Thread(target=self._report_for_ever, name="progress-reporter", daemon=True).start()

    def add(self, **counts: int) -> None:
        with self._lock:
            for (
                name,
                count,
            ) in counts.items():  # three times as fast as `Counter.update`; runs for every row
                self._counts[name] += count

    def set_ready(self, ready: bool) -> None:
        self._ready = ready

    def note(self, sentence: str) -> None:
        """Show a sentence on the driver's screen."""
        self._progress_tracker.note.remote(self._pool, sentence)

    def report(self) -> None:
        """Report now. Called at the end of a block too, as the pool may be gone a second later."""
        with self._lock:
            counts = self._counts.copy()
        self._progress_tracker.report.remote(self._pool, self._worker, self._ready, counts)

    def _report_for_ever(self) -> None:
        while True:
            self.report()
            time.sleep(REPORT_INTERVAL)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, number `number` of `stages`: `pools` process the rest of `total` rows.

    `judges` are the judges of committed rows. `done_before` rows were committed before the stage began; `found` has
    their counts (`writer.COMMITTED`).
    """

    pools: tuple[str, ...]
    total: int
    done_before: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    judges: tuple[str, ...] = ()
    number: int = 1
    stages: int = 1

    @property
    def is_last(self) -> bool:
        """Whether its commits are those of the run. Commits of an earlier stage are the input of the next stage."""
        return self.number == self.stages
