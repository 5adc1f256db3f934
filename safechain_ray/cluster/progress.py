"""The tally: an actor that knows how far each pool is, from counters that its workers report.

One stage of a run, as a driver tells of it: which pools do how many rows, and what was finished before.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from safechain_ray.cluster.nodes import beside_driver
from safechain_ray.engines.loading import LOADED

REPORT_SECONDS = 1.0

SILENT_SECONDS = 20.0

MOST_NOTES = 100

"""A pool whose engines fail again and again shows no more than these."""


@dataclass(frozen=True, slots=True)
class PoolProgress:
    """Sums over the workers of one pool, restarted ones included.

    `standing` workers have their place on the cluster; `ready` ones among them have an engine that answers. `notes` are
    sentences for the driver's screen, in the order in which they came. `loaded_megabytes` grow while engines load.
    """

    ready: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    standing: int = 0
    notes: tuple[str, ...] = ()
    loaded_megabytes: int = 0


class ProgressTracker:
    """Holds the latest counters of every worker. Counters only grow, so a late or repeated report does no harm.

    A worker that has been silent for `SILENT_SECONDS` is taken for dead: it is not ready, and what it held is not in
    flight any more (Ray gives it to others, who count it again).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers: dict[str, tuple[float, str, bool, Counter[str]]] = {}
        self._notes: dict[str, list[str]] = defaultdict(list)

    def note(self, pool: str, sentence: str) -> None:
        if len(self._notes[pool]) < MOST_NOTES:
            self._notes[pool].append(sentence)

    def report(self, pool: str, worker: str, ready: bool, counts: Counter[str]) -> None:
        self._workers[worker] = (self._clock(), pool, ready, counts)

    def progress(self) -> dict[str, PoolProgress]:
        pools: dict[str, PoolProgress] = {}
        for heard, pool, ready, counts in self._workers.values():
            silent = self._clock() - heard > SILENT_SECONDS
            if silent:
                ready, counts = False, Counter({**counts, "rows_in": counts["rows_out"]})
            before = pools.get(pool, PoolProgress())
            pools[pool] = PoolProgress(before.ready + ready, before.counts + counts, before.standing + (not silent))
        return {
            pool: replace(seen, notes=tuple(self._notes[pool]), loaded_megabytes=seen.counts.pop(LOADED, 0))
            for pool, seen in pools.items()
        }


def start_tally() -> Any:
    """The tally as a Ray actor; it takes no CPU of the plan and lives as long as the driver's node."""
    return beside_driver(ProgressTracker)


class ProgressReporter:
    """A worker's side of the tally: counts locally, reports once a second from a thread."""

    def __init__(self, progress_tracker: Any, pool: str) -> None:
        self._progress_tracker = progress_tracker
        self._pool = pool
        self._worker = uuid4().hex
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._ready = False
        threading.Thread(target=self._report_for_ever, name="tally-reporter", daemon=True).start()

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():  # `Counter.update` takes three times as long, and this runs every row
                self._counts[name] += count

    def set_ready(self, ready: bool) -> None:
        self._ready = ready

    def note(self, sentence: str) -> None:
        """Show a sentence on the driver's screen."""
        self._progress_tracker.note.remote(self._pool, sentence)

    def report(self) -> None:
        """Report now; called at a block's end too, as the pool may be gone a second later."""
        with self._lock:
            counts = self._counts.copy()
        self._progress_tracker.report.remote(self._pool, self._worker, self._ready, counts)

    def _report_for_ever(self) -> None:
        while True:
            self.report()
            time.sleep(REPORT_SECONDS)


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage `number` of `stages`: `pools` finish what is left of `total` rows, judged by `judges` when committed.

    `done_before` rows were finished when it began, and `found` holds their counts (`commit.COMMITTED`).
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
        """Its commits are those of the run; an earlier stage's wait for the next one."""
        return self.number == self.stages
