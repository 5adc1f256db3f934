"""The judges that the runs of a sweep share: which of them, with how many replicas, and which have no GPU yet."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.cluster.planner import ClusterView, PlannedPool, PoolNeeds, fits, planned
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.shared_judges import SharedJudge
from safechain_ray.commands.evaluate import OpenRun
from safechain_ray.commands.sweep.active_runs import work
from safechain_ray.commands.sweep.estimate import Assumptions
from safechain_ray.errors import PlanError
from safechain_ray.runs.pools import judge_needs, longest_request, pool_needs
from safechain_ray.runs.progress import PoolNotes, Reporter

GRACE_PERIOD = 120.0
"""Seconds that a judge waits for a GPU before a model releases one of its own: a node may be starting."""

RPC_TIMEOUT = 10.0

LOADING_SECONDS = 60.0
"""An engine that has read nothing for so many seconds is not loading any more."""


def shared_pools(runs: Sequence[OpenRun], view: ClusterView) -> tuple[PlannedPool, ...]:
    """The pools of the judges' engines that run for the whole sweep, beside the models.

    Empty if a single run is left, and if one of the models does not fit beside the judges: each run then plans its own
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
    possible = [model for model in models if fits([model], view.grown)]
    if len(runs) < 2 or not needs or not _fit_beside(possible, needs, view):
        return ()
    pools = []
    for pool in needs:
        wanted = resources.judge_replicas or replicas_for(engines[pool.pool], pool, runs, view)
        replicas = 1
        while replicas < wanted and _fit_beside(possible, [*needs, *[pool] * replicas], view):
            replicas += 1
        pools.append(planned(pool, replicas, view.grown))
    return tuple(pools)


def replicas_for(judge: EngineNeeds, pool: PoolNeeds, runs: Sequence[OpenRun], view: ClusterView) -> int:
    """Replicas of a judge: its share of the GPUs is its share of all operations, under the assumptions of `plan`."""
    if not pool.gpus:
        return 1
    assumed = Assumptions()
    judging = sum(run.left for run in runs) * judge.parameters / assumed.prefill_utilisation
    generating = sum(work(run, run.left) for run in runs) / assumed.decode_utilisation
    gpus = sum(node.gpus for node in view.grown.nodes)
    return max(1, round(gpus * judging / (judging + generating) / pool.gpus))


def _fit_beside(models: Iterable[PoolNeeds], judges: Sequence[PoolNeeds], view: ClusterView) -> bool:
    return all(fits([model, *judges], view.grown) for model in models)


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
            needs for judge in self.shared for needs in judge.to_come(self._progress.get(judge.entry.name, none_yet))
        ]

    def _update(self, progress: Mapping[str, PoolProgress]) -> None:
        if _loaded(progress) > _loaded(self._progress):
            self._loaded_at = time.monotonic()
        self._progress = progress
        self._notes.show(progress)

    def need_preemption(self, unplaced: list[PoolNeeds], free: ClusterView) -> bool:
        """Whether workers have been unplaced for `GRACE_PERIOD` although nothing is free; True restarts the period."""
        now = time.monotonic()
        if not unplaced or fits(unplaced, free.grown):
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
