"""The runs of a sweep while they run: their state for the scheduler, and their time slices before a deadline."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.cluster.planner import Plan
from safechain_ray.cluster.scheduler_policy import RunningRun
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.commands.evaluate import OpenRun
from safechain_ray.runs.progress import PrefixedReporter

REPORT_AFTER = 60.0
"""Seconds of a condition before it is reported: the GPUs of a run that ends are free only moments later."""


@dataclass
class ActiveRun:
    """A run in its thread. `replicas` is the limit of its model's replicas now; `until` is the end of its time slice.

    `last_placed` is when its model was last seen to be placed, or when the run started.
    """

    opened: OpenRun
    plan: Plan
    replicas: int
    until: float
    reporter: PrefixedReporter
    control: StreamControl = field(default_factory=StreamControl)
    last_placed: float = field(default_factory=time.monotonic)

    @property
    def gpus(self) -> float:
        """Of each replica of its model."""
        return self.plan.stages[0][0].needs.gpus

    @property
    def holds_gpus(self) -> bool:
        return bool(self.gpus and self.wanted)

    @property
    def left(self) -> int:
        snapshot = self.reporter.last
        return self.opened.left - (snapshot.committed_rows if snapshot else 0)

    @property
    def wanted(self) -> int:
        """Replicas that its model has or waits for, without those that are idle because no rows are queued."""
        last = self.control.last_replicas
        return self.replicas if last is None else min(last, self.replicas)

    def running(self, name: str) -> RunningRun:
        """The run as the scheduler policy sees it."""
        snapshot = self.reporter.last
        standing = {pool: progress.standing for pool, progress in snapshot.pools.items()} if snapshot else {}
        if standing.get(self.plan.stages[0][0].needs.pool):
            self.last_placed = time.monotonic()
        return RunningRun(
            name,
            self.plan,
            self.wanted,
            standing,
            work(self.opened, self.left),
            last_rows=self.control.last_replicas is not None,
            without_place=time.monotonic() - self.last_placed,
        )


@dataclass
class ConditionTimer:
    """For how long a condition has been true, and whether that was reported."""

    since: float | None = None
    reported: bool = False

    def seconds(self, is_true: bool) -> float:
        """Poll the condition: seconds since it became true, 0 while it is false."""
        now = time.monotonic()
        if not is_true:
            self.since, self.reported = None, False
            return 0.0
        if self.since is None:
            self.since = now
        return now - self.since

    def is_due(self, seconds: float) -> bool:
        """Whether to report the condition: once, after `REPORT_AFTER`."""
        if self.reported or seconds < REPORT_AFTER:
            return False
        self.reported = True
        return True


@dataclass(frozen=True, slots=True)
class Demand:
    """The work that a run has left, in any unit, and the GPUs that it uses meanwhile."""

    work: float
    gpus: float


def time_slice(left: float, demands: Mapping[str, Demand], all_gpus: float) -> dict[str, float]:
    """Seconds that each run may use before queued runs preempt it: a fair share of the time until a deadline.

    `left` are the seconds until the deadline. The share of a run is that of its work in all work. Runs on few GPUs run
    side by side, so their slices are longer. No slice is longer than `left`. A run without work of its own (an API's)
    has all of it.
    """
    whole = sum(demand.work for demand in demands.values())
    side_by_side = {name: max(1.0, all_gpus / max(1.0, demand.gpus)) for name, demand in demands.items()}
    return {
        name: min(left, left * demand.work / whole * side_by_side[name]) if demand.work else left
        for name, demand in demands.items()
    }


def work(opened: OpenRun, rows: int) -> float:
    """The work of `rows` samples: rows times billions of parameters; 0 where a provider does it."""
    return 0.0 if isinstance(opened.run.model, ApiEntry) else rows * opened.run.model.parameters
