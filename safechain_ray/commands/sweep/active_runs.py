"""A run of a sweep at work: what its thread was started with, and how the packing sees it.

The shared judges of a sweep while it works: which of their workers have no place, and for how long.

How long something lasts that a person should hear of.

How the time until a deadline is shared: every model has its turn, so that each has a table when time is up.

Which judges the runs of a sweep share, and with how many replicas.
"""

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
from safechain_ray.commands.sweep.estimate import Assumptions
from safechain_ray.errors import PlanError
from safechain_ray.runs.pools import judge_needs, longest_request, pool_needs
from safechain_ray.runs.progress import PoolNotes, PrefixedReporter, Reporter


def shared_pools(runs: Sequence[OpenRun], view: ClusterView) -> tuple[PlannedPool, ...]:
    """The pools of the judges' engines that stand for the whole sweep, beside whichever models are at work.

    None where a single run is left, and where one of the models has no room beside the judges: each run then plans its
    own, one engine after the other if need be.
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
    if len(runs) < 2 or not needs or not _stand_beside(possible, needs, view):
        return ()
    pools = []
    for pool in needs:
        wanted = resources.judge_replicas or replicas_for(engines[pool.pool], pool, runs, view)
        replicas = 1
        while replicas < wanted and _stand_beside(possible, [*needs, *[pool] * replicas], view):
            replicas += 1
        pools.append(planned(pool, replicas, view.with_autoscaler))
    return tuple(pools)


def replicas_for(judge: EngineNeeds, pool: PoolNeeds, runs: Sequence[OpenRun], view: ClusterView) -> int:
    """As many of the GPUs as the judge has of all operations, under the assumptions of `plan`; one at least."""
    if not pool.gpus:
        return 1
    assumed = Assumptions()
    judging = sum(run.left for run in runs) * judge.parameters / assumed.prefill_utilisation
    generating = sum(work(run, run.left) for run in runs) / assumed.decode_utilisation
    gpus = sum(node.gpus for node in view.with_autoscaler.nodes)
    return max(1, round(gpus * judging / (judging + generating) / pool.gpus))


def work(opened: OpenRun, rows: int) -> float:
    """What `rows` samples of a run cost: rows times billions of parameters; nothing where a provider does it."""
    return 0.0 if isinstance(opened.run.model, ApiEntry) else rows * opened.run.model.parameters


def _stand_beside(models: Iterable[PoolNeeds], judges: Sequence[PoolNeeds], view: ClusterView) -> bool:
    return all(fits([model, *judges], view.with_autoscaler) for model in models)


@dataclass
class ActiveRun:
    """A run in its thread. `replicas` are those that its model may have now; `until` is when its turn ends.

    `stood` is when its model was last seen to have a place, or when the run started.
    """

    opened: OpenRun
    plan: Plan
    replicas: int
    until: float
    reporter: PrefixedReporter
    control: StreamControl = field(default_factory=StreamControl)
    stood: float = field(default_factory=time.monotonic)

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
        return self.opened.left - (snapshot.committed.get("rows", 0) if snapshot else 0)

    @property
    def wanted(self) -> int:
        """The replicas of its model that it has or waits for: none in place of those that its last rows leave."""
        last = self.control.last_replicas
        return self.replicas if last is None else min(last, self.replicas)

    def seen(self, name: str) -> RunningRun:
        """The run as the packing sees it."""
        snapshot = self.reporter.last
        standing = {pool: progress.placed for pool, progress in snapshot.pools.items()} if snapshot else {}
        if standing.get(self.plan.stages[0][0].needs.pool):
            self.stood = time.monotonic()
        return RunningRun(
            name,
            self.plan,
            self.wanted,
            standing,
            work(self.opened, self.left),
            last_rows=self.control.last_replicas is not None,
            unplaced_seconds=time.monotonic() - self.stood,
        )


PATIENCE_SECONDS = 120.0

"""So long a judge waits for a place before a model gives up one of its own: a node may be on its way."""

RPC_TIMEOUT = 10.0

LOADING_SECONDS = 60.0

"""An engine that has read nothing for so long is not loading any more."""


class JudgesAtWork:
    """`shared` are the judges; `progress_tracker` is where their workers report."""

    def __init__(self, shared: tuple[SharedJudge, ...], progress_tracker: Any, reporter: Reporter) -> None:
        self.shared = shared
        self._progress_tracker = progress_tracker
        self._notes = PoolNotes(reporter)
        self._progress: Mapping[str, PoolProgress] = {}
        self._cramped_since: float | None = None
        self._loaded_at = -math.inf

    def is_loading(self) -> bool:
        """Whether engines of the judges have loaded something lately: the runs wait for them."""
        return time.monotonic() - self._loaded_at < LOADING_SECONDS

    def to_come(self) -> list[PoolNeeds]:
        """The workers without a place on the cluster, one item each; while the tally is silent those of before."""
        if not self.shared:
            return []
        with suppress(GetTimeoutError):
            self._see(ray.get(self._progress_tracker.progress.remote(), timeout=RPC_TIMEOUT))
        none_yet = PoolProgress()
        return [
            needs
            for judge in self.shared
            for needs in judge.pending_workers(self._progress.get(judge.entry.name, none_yet))
        ]

    def _see(self, progress: Mapping[str, PoolProgress]) -> None:
        if _loaded(progress) > _loaded(self._progress):
            self._loaded_at = time.monotonic()
        self._progress = progress
        self._notes.show(progress)

    def want_room(self, to_come: list[PoolNeeds], free: ClusterView) -> bool:
        """Whether some have waited in vain for as long as they may; the time counts anew then."""
        now = time.monotonic()
        if not to_come or fits(to_come, free.with_autoscaler):
            self._cramped_since = None
            return False
        if self._cramped_since is None:
            self._cramped_since = now
        if now - self._cramped_since < PATIENCE_SECONDS:
            return False
        self._cramped_since = now
        return True


def _loaded(progress: Mapping[str, PoolProgress]) -> int:
    return sum(pool.loaded_megabytes for pool in progress.values())


TOLD_SECONDS = 60.0

"""A sweep that can't start a model says so after this long: what a run leaves is free only moments later."""


@dataclass
class Lasting:
    """For how long something lasts, and whether that was told."""

    since: float | None = None
    told: bool = False

    def seconds(self, lasts: bool) -> float:
        """Called again and again; 0 as long as it does not last."""
        now = time.monotonic()
        if not lasts:
            self.since, self.told = None, False
            return 0.0
        if self.since is None:
            self.since = now
        return now - self.since

    def is_to_tell(self, seconds: float) -> bool:
        """Once, after `TOLD_SECONDS`."""
        if self.told or seconds < TOLD_SECONDS:
            return False
        self.told = True
        return True


@dataclass(frozen=True, slots=True)
class Share:
    """What a run has to do, in any unit, and the GPUs that it works on while it does."""

    work: float
    gpus: float


def time_slice(left: float, shares: Mapping[str, Share], all_gpus: float) -> dict[str, float]:
    """How long each run may work before it gives way to those that wait.

    `left` are the seconds until the deadline. Each run gets the part of the cluster's time that its work is of all
    work; runs that stand side by side work at the same time, so one on few GPUs has longer. None has longer than there
    is, and a run without work of its own (an API's) has it all.
    """
    whole = sum(share.work for share in shares.values())
    side_by_side = {name: max(1.0, all_gpus / max(1.0, share.gpus)) for name, share in shares.items()}
    return {
        name: min(left, left * share.work / whole * side_by_side[name]) if share.work else left
        for name, share in shares.items()
    }
