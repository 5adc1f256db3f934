"""Scheduler policy of a sweep: which runs start now, and which running model gets one more replica.

1. Larger models start first, so that long runs do not end last. Runs with fewer time slices are first.
2. Smaller runs start where they fit (backfilling).
3. Further replicas go to the run with most work left for each of its replicas.
4. No resource is taken from a running run.

Ray chooses the node of a replica. So a small run waits until larger replicas that fit now are placed: the small run
might occupy the only node that fits them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool, PoolNeeds, fits, make_plan, planned
from safechain_ray.errors import PlanError

PLACEMENT_GRACE_PERIOD = 300.0
"""Seconds that smaller runs wait until a larger one is placed. After that, something else prevents its placement."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that has not started. `pools[0]` is the model's. `work` is the work left, in any unit.

    `time_slices` counts the time slices that the run has used, and its failed attempts.
    """

    name: str
    pools: tuple[PoolNeeds, ...]
    work: float
    time_slices: int = 0

    @property
    def model(self) -> PoolNeeds:
        return self.pools[0]


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run that has started. `placed` counts the replicas of each pool that run on a node.

    `replicas` of the model are placed or pending. With `last_rows`, replicas that end are not replaced.
    `unplaced_seconds` is the time since a replica of the model was last placed.
    """

    name: str
    plan: Plan
    replicas: int
    placed: Mapping[str, int]
    work: float
    last_rows: bool = False
    unplaced_seconds: float = 0.0

    @property
    def model(self) -> PlannedPool:
        return self.plan.stages[0][0]

    @property
    def is_staged(self) -> bool:
        return len(self.plan.stages) > 1

    @property
    def is_unplaced(self) -> bool:
        has_none = self.replicas > 0 and not self.placed.get(self.model.needs.pool)
        return has_none and self.unplaced_seconds < PLACEMENT_GRACE_PERIOD

    def pending_replicas(self) -> list[PoolNeeds]:
        """Replicas that are not placed yet. Free resources are reserved for them."""
        pools = [(pool.needs, pool.replicas) for pool in self.plan.stages[0]]
        wanted = [(pools[0][0], self.replicas), *pools[1:]]
        return [needs for needs, replicas in wanted for _ in range(max(0, replicas - self.placed.get(needs.pool, 0)))]


@dataclass(frozen=True, slots=True)
class SchedulerDecision:
    """Runs to start with their plans, and the new number of replicas of running models.

    `held_back` runs fit, but wait until larger runs are placed.
    """

    starts: Mapping[str, Plan]
    replicas: Mapping[str, int]
    held_back: tuple[str, ...] = ()


def schedule_runs(
    waiting: Sequence[WaitingRun],
    running: Sequence[RunningRun],
    free: ClusterView,
    at_once: int,
    reserved: Sequence[PoolNeeds] = (),
) -> SchedulerDecision:
    """Decide what starts on the `free` resources and on the autoscaler's nodes, with at most `at_once` runs at a time.

    `reserved` are pending replicas that belong to no single run, such as those of shared judges. A run whose pools do
    not fit at the same time starts in stages, when no other run is running.
    """
    capacity = free.with_autoscaler
    taken = [*reserved, *(needs for run in running for needs in run.pending_replicas())]
    starts: dict[str, Plan] = {}
    unplaced = [run.model.needs for run in running if run.is_unplaced]
    cores_are_taken = any(_computes_on_cpus(run.model.needs) for run in running)
    held_back: list[str] = []
    for run in sorted(waiting, key=lambda run: (run.time_slices, -run.model.gpus, -run.work)):
        if len(running) + len(starts) >= at_once or (cores_are_taken and _computes_on_cpus(run.model)):
            continue
        plan = _smallest_plan(run, capacity)
        needs = [pool.needs for pool in plan.stages[0] for _ in range(pool.replicas)]
        if fits([*_competing(run, taken), *needs], capacity):
            if _may_block_larger(needs, unplaced, taken, free):
                held_back.append(run.name)
                continue
            starts[run.name] = plan
            taken += needs
            unplaced.append(run.model)
            cores_are_taken |= _computes_on_cpus(run.model)
    if not starts and not running and waiting and not reserved:
        return SchedulerDecision(_alone(waiting, free), {})
    if held_back:
        # Without further replicas: they would take the resources that these runs wait for.
        return SchedulerDecision(starts, {}, tuple(held_back))
    started = [
        RunningRun(run.name, starts[run.name], _model_replicas(starts[run.name]), {}, run.work)
        for run in waiting
        if run.name in starts
    ]
    return SchedulerDecision(starts, _grown_replicas([*running, *started], taken, capacity))


def _smallest_plan(run: WaitingRun, capacity: ClusterView) -> Plan:
    """The run with the requested replicas of each pool, by default one."""
    return Plan((tuple(planned(pool, pool.wanted or 1, capacity, may_grow=True) for pool in run.pools),))


def _competing(run: WaitingRun, taken: Sequence[PoolNeeds]) -> Sequence[PoolNeeds]:
    """The reserved resources that count for the run. A client of an API does not wait for pending GPUs."""
    return taken if any(pool.gpus for pool in run.pools) else [needs for needs in taken if not needs.gpus]


def _may_block_larger(
    needs: Sequence[PoolNeeds], unplaced: Sequence[PoolNeeds], taken: Sequence[PoolNeeds], free: ClusterView
) -> bool:
    """Whether unplaced larger replicas that fit now might not fit after Ray places these and all smaller ones.

    The worst case is assumed, as Ray prefers an empty node to a node that is half full.
    """
    gpus = max(pool.gpus for pool in needs)
    larger = [pool for pool in unplaced if pool.gpus > gpus > 0]
    if not larger or not fits(larger, free):
        return False
    smaller = [pool for pool in (*taken, *needs) if 0 < pool.gpus <= gpus]
    nodes = list(free.nodes)
    least = min(pool.gpus for pool in larger)
    for pool in smaller:
        for index, node in enumerate(nodes):
            if node.gpus >= least > node.gpus - pool.gpus:
                nodes[index] = replace(node, gpus=node.gpus - pool.gpus, gpus_in_all=node.all_gpus)
                break
    return not fits(larger, replace(free, nodes=tuple(nodes)))


def _alone(waiting: Sequence[WaitingRun], free: ClusterView) -> dict[str, Plan]:
    """The first run that fits when no other run is running, in stages where necessary."""
    for run in waiting:
        try:
            return {run.name: make_plan(run.pools, free)}
        except PlanError:
            continue
    return {}


def _grown_replicas(runs: Sequence[RunningRun], taken: Sequence[PoolNeeds], capacity: ClusterView) -> dict[str, int]:
    """One replica at a time to the run with most work for each replica, while replicas fit."""
    replicas = {run.name: run.replicas for run in runs if _may_grow(run)}
    grown: dict[str, int] = {}
    taken = list(taken)
    while growing := [run for run in runs if replicas.get(run.name, run.model.needs.useful) < run.model.needs.useful]:
        neediest = max(growing, key=lambda run: run.work / replicas[run.name])
        if not fits([*taken, neediest.model.needs], capacity):
            # This run gets no more; a run that needs fewer resources may.
            replicas[neediest.name] = neediest.model.needs.useful
            continue
        taken.append(neediest.model.needs)
        replicas[neediest.name] += 1
        grown[neediest.name] = replicas[neediest.name]
    return grown


def _may_grow(run: RunningRun) -> bool:
    return not run.is_staged and run.model.needs.wanted is None and not run.last_rows


def _model_replicas(plan: Plan) -> int:
    return plan.stages[0][0].replicas


def _computes_on_cpus(needs: PoolNeeds) -> bool:
    """Whether the pool is an engine on CPUs, which uses all cores, unlike Ray's count. A client of an API uses few."""
    return needs.gpus == 0 and needs.cpus >= 1
