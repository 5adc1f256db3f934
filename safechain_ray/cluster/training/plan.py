"""How the workers of a training stand on the cluster, or why they can't: refused with a table before any starts."""

from dataclasses import replace

from safechain_ray.cluster.planner import ClusterView, PoolNeeds, fits, needs_table
from safechain_ray.errors import PlanError


def check_workers(worker: PoolNeeds, workers: int, view: ClusterView) -> str | None:
    """What there is to say where the workers find a place only when the autoscaler brings nodes.

    Raises PlanError where all of them can't stand at the same time.
    """
    if fits([worker] * workers, view):
        return None
    if view.autoscales and (not view.may_come or fits([worker] * workers, view.grown)):
        return "The nodes that are up don't hold all workers: the autoscaler is asked for more."
    grown = view.grown
    count = next((count for count in range(workers - 1, 0, -1) if fits([worker] * count, grown)), 0)
    fix = f"take {count} workers (--workers {count})" if count else "take a cluster whose nodes hold a worker"
    if worker.gpus and not view.has_gpus:
        fix = "join a cluster with GPUs (--ray-address or RAY_ADDRESS), or insist on CPUs with --device cpu"
    elif worker.gpus and view.accelerator is not None:
        fix += f"; only GPUs that Ray calls {view.accelerator!r} count here"
    raise PlanError(
        f"The cluster can't hold {workers} training workers at the same time: {count or 'none'} of them fit.\n"
        f"{needs_table([replace(worker, pool='each worker')], grown)}\nFix: {fix}, or add nodes."
    )
