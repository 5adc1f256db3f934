"""Which judges the runs of a sweep share, and with how many replicas."""

from collections.abc import Iterable, Sequence

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.cluster.planner import ClusterView, PlannedPool, PoolNeeds, fits, planned
from safechain_ray.commands.evaluate import OpenRun
from safechain_ray.commands.sweep.estimate import Assumptions
from safechain_ray.errors import PlanError
from safechain_ray.runs.pools import judge_needs, longest_request, pool_needs


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
    possible = [model for model in models if fits([model], view.grown)]
    if len(runs) < 2 or not needs or not _stand_beside(possible, needs, view):
        return ()
    pools = []
    for pool in needs:
        wanted = resources.judge_replicas or replicas_for(engines[pool.pool], pool, runs, view)
        replicas = 1
        while replicas < wanted and _stand_beside(possible, [*needs, *[pool] * replicas], view):
            replicas += 1
        pools.append(planned(pool, replicas, view.grown))
    return tuple(pools)


def replicas_for(judge: EngineNeeds, pool: PoolNeeds, runs: Sequence[OpenRun], view: ClusterView) -> int:
    """As many of the GPUs as the judge has of all operations, under the assumptions of `plan`; one at least."""
    if not pool.gpus:
        return 1
    assumed = Assumptions()
    judging = sum(run.left for run in runs) * judge.parameters / assumed.prefill_utilisation
    generating = sum(work(run, run.left) for run in runs) / assumed.decode_utilisation
    gpus = sum(node.gpus for node in view.grown.nodes)
    return max(1, round(gpus * judging / (judging + generating) / pool.gpus))


def work(opened: OpenRun, rows: int) -> float:
    """What `rows` samples of a run cost: rows times billions of parameters; nothing where a provider does it."""
    return 0.0 if isinstance(opened.run.model, ApiEntry) else rows * opened.run.model.parameters


def _stand_beside(models: Iterable[PoolNeeds], judges: Sequence[PoolNeeds], view: ClusterView) -> bool:
    return all(fits([model, *judges], view.grown) for model in models)
