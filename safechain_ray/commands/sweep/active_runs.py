"""The runs of a sweep while they run: their state for the scheduler, their time slices, and their shared judges."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from safechain_ray.catalog.entries import ApiEntry, EngineNeeds
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool, PoolNeeds, fits, planned
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.scheduler_policy import RunningRun
from safechain_ray.cluster.shared_judges import SharedJudge
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.commands.evaluate import OpenRun
from safechain_ray.errors import PlanError
from safechain_ray.runs.pools import judge_needs, longest_request, pool_needs
from safechain_ray.runs.progress import PoolNotes, PrefixedReporter, Reporter
from safechain_ray.runs.token_rates import TokenRates

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
        standing = {pool: progress.placed for pool, progress in snapshot.pools.items()} if snapshot else {}
        if standing.get(self.plan.stages[0][0].needs.pool):
            self.last_placed = time.monotonic()
        return RunningRun(
            name,
            self.plan,
            self.wanted,
            standing,
            work(self.opened, self.left),
            last_rows=self.control.last_replicas is not None,
            unplaced_seconds=time.monotonic() - self.last_placed,
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

    `left` are the seconds until the deadline. The share of a run is its work divided by the total work. Runs on few
    GPUs run side by side, so their slices are longer. No slice is longer than `left`. A run without work of its own (an
    API's) has all of it.
    """
    whole = sum(demand.work for demand in demands.values())
    side_by_side = {name: max(1.0, all_gpus / max(1.0, demand.gpus)) for name, demand in demands.items()}
    return {
        name: min(left, left * demand.work / whole * side_by_side[name]) if demand.work else left
        for name, demand in demands.items()
    }


def work(opened: OpenRun, rows: int) -> float:
    """The work of `rows` samples: GPU-seconds of a token of each; 0 where a provider does it."""
    return 0.0 if isinstance(opened.run.model, ApiEntry) else rows * TokenRates().decode_seconds(opened.run.model)


GRACE_PERIOD = 120.0
"""Seconds that a judge waits for a GPU before a model releases one of its own: a node may be starting."""

RPC_TIMEOUT = 10.0

LOADING_SECONDS = 60.0
"""An engine that has read nothing for so many seconds is not loading any more."""


def shared_pools(runs: Sequence[OpenRun], view: ClusterView) -> tuple[PlannedPool, ...]:
    """The pools of the judges' engines that run for the whole sweep, beside the models.

    Empty if a single run is left, and if one of the models does not fit beside the judges. Each run then plans its own
    judges, one engine after the other if necessary.
    """
    first = runs[0]
    resources, judges = first.config.resources, first.run.judges
    engines = {judge.name: judge.engine for judge in judges if judge.engine is not None}
    bounds = [longest_request(run.run) for run in runs]
    tokens = None if None in bounds else max(bound for bound in bounds if bound is not None)
    try:
        needs = [pool for pool in judge_needs(judges, resources, view, tokens) if pool.pool in engines]
    except PlanError:
        return ()
    models = [pool_needs(run.run, resources, view)[0] for run in runs]
    possible = [model for model in models if fits([model], view.with_autoscaler)]
    if len(runs) < 2 or not needs or not _fit_beside(possible, needs, view):
        return ()
    pools = []
    for pool in needs:
        wanted = resources.judge_replicas or replicas_for(engines[pool.pool], pool, runs, view)
        replicas = 1
        while replicas < wanted and _fit_beside(possible, [*needs, *[pool] * replicas], view):
            replicas += 1
        pools.append(planned(pool, replicas, view.with_autoscaler))
    return tuple(pools)


def replicas_for(judge: EngineNeeds, pool: PoolNeeds, runs: Sequence[OpenRun], view: ClusterView) -> int:
    """Replicas of a judge: its share of the GPUs is its share of all time, by the rates of `plan`."""
    if not pool.gpus:
        return 1
    judging = sum(run.left for run in runs) * TokenRates().prefill_seconds(judge)
    generating = sum(work(run, run.left) for run in runs)
    gpus = sum(node.gpus for node in view.with_autoscaler.nodes)
    return max(1, round(gpus * judging / (judging + generating) / pool.gpus))


def _fit_beside(models: Iterable[PoolNeeds], judges: Sequence[PoolNeeds], view: ClusterView) -> bool:
    return all(fits([model, *judges], view.with_autoscaler) for model in models)


class SharedJudgesState:
    """The state of the `shared` judges, from the reports of their workers to `progress_tracker`."""

    def __init__(self, shared: tuple[SharedJudge, ...], progress_tracker: Any, reporter: Reporter) -> None:
        self.shared = shared
        self._progress_tracker = progress_tracker
        self._notes = PoolNotes(reporter)
        self._progress: Mapping[str, PoolProgress] = {}
        self._starved_since: float | None = None
        self._loaded_at = -math.inf

    def is_loading(self) -> bool:
        """Whether engines of the judges are loading, so that the runs wait for them."""
        return time.monotonic() - self._loaded_at < LOADING_SECONDS

    def unplaced(self) -> list[PoolNeeds]:
        """The workers that are not placed yet, one item each; those of the last answer while the tracker is silent."""
        if not self.shared:
            return []
        with suppress(GetTimeoutError):
            self._update(ray.get(self._progress_tracker.progress.remote(), timeout=RPC_TIMEOUT))
        none_yet = PoolProgress()
        return [
            needs
            for judge in self.shared
            for needs in judge.pending_workers(self._progress.get(judge.entry.name, none_yet))
        ]

    def _update(self, progress: Mapping[str, PoolProgress]) -> None:
        if _loaded(progress) > _loaded(self._progress):
            self._loaded_at = time.monotonic()
        self._progress = progress
        self._notes.show(progress)

    def need_preemption(self, unplaced: list[PoolNeeds], free: ClusterView) -> bool:
        """Whether workers have been unplaced for `GRACE_PERIOD` although nothing is free; True restarts the period."""
        now = time.monotonic()
        if not unplaced or fits(unplaced, free.with_autoscaler):
            self._starved_since = None
            return False
        if self._starved_since is None:
            self._starved_since = now
        if now - self._starved_since < GRACE_PERIOD:
            return False
        self._starved_since = now
        return True


def _loaded(progress: Mapping[str, PoolProgress]) -> int:
    return sum(pool.loaded_megabytes for pool in progress.values())
