"""Packs the runs of a sweep onto the cluster: which start now, and which may have one more replica.

Largest first, so that the long runs do not come last (where runs take turns, those that had fewest); then smaller ones
wherever there is room; then further replicas for whoever has most left to do. Nothing is taken away from a run at work.
Where a replica stands is Ray's to choose, so a small one waits until larger ones that have room now have their place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool, PoolNeeds, fits, make_plan, planned
from safechain_ray.errors import PlanError

PLACE_SECONDS = 300.0
"""Smaller runs wait so long for a larger one to have its place; by then something else than they keeps it waiting."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that has not started. `pools` are its own, the model's first; `work` is how much is left, in any unit.

    `turns` are those that it has had: it gave way to others, or failed.
    """

    name: str
    pools: tuple[PoolNeeds, ...]
    work: float
    turns: int = 0

    @property
    def model(self) -> PoolNeeds:
        return self.pools[0]


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run at work. `standing` are the replicas of each of its pools that have their place on the cluster.

    `replicas` are those that its model has or waits for. With `last_rows` none waits for a replica any more: those that
    end are not wanted back. `without_place` says for how many seconds no replica of its model has stood.
    """

    name: str
    plan: Plan
    replicas: int
    standing: Mapping[str, int]
    work: float
    last_rows: bool = False
    without_place: float = 0.0

    @property
    def model(self) -> PlannedPool:
        return self.plan.stages[0][0]

    @property
    def is_staged(self) -> bool:
        return len(self.plan.stages) > 1

    @property
    def waits_for_its_place(self) -> bool:
        has_none = self.replicas > 0 and not self.standing.get(self.model.needs.pool)
        return has_none and self.without_place < PLACE_SECONDS

    def to_come(self) -> list[PoolNeeds]:
        """The replicas that were promised and are not there yet: what is free is not free for others."""
        pools = [(pool.needs, pool.replicas) for pool in self.plan.stages[0]]
        wanted = [(pools[0][0], self.replicas), *pools[1:]]
        return [needs for needs, replicas in wanted for _ in range(max(0, replicas - self.standing.get(needs.pool, 0)))]


@dataclass(frozen=True, slots=True)
class Packing:
    """What to do now: runs to start with their plans, and how many replicas the model of a running one may have.

    `held` have room, but wait until larger runs have their places.
    """

    starts: Mapping[str, Plan]
    grown: Mapping[str, int]
    held: tuple[str, ...] = ()


def pack(
    waiting: Sequence[WaitingRun],
    running: Sequence[RunningRun],
    free: ClusterView,
    at_once: int,
    promised: Sequence[PoolNeeds] = (),
) -> Packing:
    """`free` holds what nothing stands on, and the nodes that may come; at most `at_once` runs work side by side.

    `promised` are replicas that all runs wait for, as those of shared judges, and that have no place yet. A run that
    can't have its pools side by side even alone is started when nothing else runs, as its own plan says.
    """
    room = free.grown
    taken = [*promised, *(needs for run in running for needs in run.to_come())]
    starts: dict[str, Plan] = {}
    unplaced = [run.model.needs for run in running if run.waits_for_its_place]
    cores_are_taken = any(_computes_on_cpus(run.model.needs) for run in running)
    held: list[str] = []
    for run in sorted(waiting, key=lambda run: (run.turns, -run.model.gpus, -run.work)):
        if len(running) + len(starts) >= at_once or (cores_are_taken and _computes_on_cpus(run.model)):
            continue
        plan = _smallest(run, room)
        needs = [pool.needs for pool in plan.stages[0] for _ in range(pool.replicas)]
        if fits([*_in_the_way_of(run, taken), *needs], room):
            if _may_take_a_place(needs, unplaced, taken, free):
                held.append(run.name)
                continue
            starts[run.name] = plan
            taken += needs
            unplaced.append(run.model)
            cores_are_taken |= _computes_on_cpus(run.model)
    if not starts and not running and waiting and not promised:
        return Packing(_alone(waiting, free), {})
    if held:
        return Packing(starts, {}, tuple(held))  # else the room that they wait for goes to those that work already
    started = [
        RunningRun(run.name, starts[run.name], _own(starts[run.name]), {}, run.work)
        for run in waiting
        if run.name in starts
    ]
    return Packing(starts, _growth([*running, *started], taken, room))


def _smallest(run: WaitingRun, room: ClusterView) -> Plan:
    """The run with one replica of each pool, or as many as were asked for."""
    return Plan((tuple(planned(pool, pool.wanted or 1, room, may_grow=True) for pool in run.pools),))


def _in_the_way_of(run: WaitingRun, taken: Sequence[PoolNeeds]) -> Sequence[PoolNeeds]:
    """What is promised already; a client of an API need not wait for GPUs that others wait for."""
    return taken if any(pool.gpus for pool in run.pools) else [needs for needs in taken if not needs.gpus]


def _may_take_a_place(
    needs: Sequence[PoolNeeds], unplaced: Sequence[PoolNeeds], taken: Sequence[PoolNeeds], free: ClusterView
) -> bool:
    """Whether larger replicas that could stand now might not, if Ray put these and all smaller ones in their way.

    It might: it rather takes an empty node than one that is half full.
    """
    gpus = max(pool.gpus for pool in needs)
    larger = [pool for pool in unplaced if pool.gpus > gpus > 0]
    if not larger or not fits(larger, free):
        return False
    smaller = [pool for pool in (*taken, *needs) if 0 < pool.gpus <= gpus]
    nodes = list(free.nodes)
    least = min(pool.gpus for pool in larger)
    for pool in smaller:
        for place, node in enumerate(nodes):
            if node.gpus >= least > node.gpus - pool.gpus:
                in_all = node.gpus if node.gpus_in_all is None else node.gpus_in_all
                nodes[place] = replace(node, gpus=node.gpus - pool.gpus, gpus_in_all=in_all)
                break
    return not fits(larger, replace(free, nodes=tuple(nodes)))


def _alone(waiting: Sequence[WaitingRun], free: ClusterView) -> dict[str, Plan]:
    """The first run that fits when it is alone, in stages if need be."""
    for run in waiting:
        try:
            return {run.name: make_plan(run.pools, free)}
        except PlanError:
            continue
    return {}


def _growth(runs: Sequence[RunningRun], taken: Sequence[PoolNeeds], room: ClusterView) -> dict[str, int]:
    """One replica after the other to the run that has most work for each of its own, while there is room."""
    replicas = {run.name: run.replicas for run in runs if _may_grow(run)}
    grown: dict[str, int] = {}
    taken = list(taken)
    while growing := [run for run in runs if replicas.get(run.name, run.model.needs.useful) < run.model.needs.useful]:
        neediest = max(growing, key=lambda run: run.work / replicas[run.name])
        if not fits([*taken, neediest.model.needs], room):
            # No room for this one: perhaps for one that needs less.
            replicas[neediest.name] = neediest.model.needs.useful
            continue
        taken.append(neediest.model.needs)
        replicas[neediest.name] += 1
        grown[neediest.name] = replicas[neediest.name]
    return grown


def _may_grow(run: RunningRun) -> bool:
    return not run.is_staged and run.model.needs.wanted is None and not run.last_rows


def _own(plan: Plan) -> int:
    return plan.stages[0][0].replicas


def _computes_on_cpus(needs: PoolNeeds) -> bool:
    """An engine on CPUs takes all the cores there are, whatever Ray counts; a client of an API next to nothing."""
    return needs.gpus == 0 and needs.cpus >= 1
