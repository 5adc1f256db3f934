"""What a run's engine pools need of a cluster."""

from collections.abc import Iterable

from safechain_ray.catalog.entries import EngineNeeds, JudgeEntry
from safechain_ray.cluster.planner import ClusterView, PoolNeeds
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.start import Device
from safechain_ray.pipelines.resolve import ResolvedRun

MODEL_POOL = "model"

CPUS_OF_AN_ENGINE = 2.0

ENGINE_OVERHEAD_GIGABYTES = 2.0
"""Memory of an engine's processes beside weights and KV cache, as measured for vLLM on a CPU."""


def pool_needs(run: ResolvedRun, resources: ResourcesConfig, view: ClusterView) -> list[PoolNeeds]:
    """The engine pools of a run, the model's first.

    On GPUs the model gets as many replicas as fit and have work; on CPUs a second one would only share the first
    one's cores, so it must be asked for.
    """
    model_device = _device(resources, run.model, view)
    replicas = resources.replicas or (1 if model_device == "cpu" else None)
    useful = max(1, len(run.worklist) // resources.max_running)
    judges = judge_needs(run.judges, resources, view)
    return [_needs(MODEL_POOL, run.model, model_device, resources, replicas, useful), *judges]


def judge_needs(judges: Iterable[JudgeEntry], resources: ResourcesConfig, view: ClusterView) -> list[PoolNeeds]:
    """The pools of the judges that have an engine."""
    return [
        _needs(
            judge.name, judge.engine, _device(resources, judge.engine, view), resources, resources.judge_replicas or 1
        )
        for judge in judges
        if judge.engine is not None
    ]


def judge_pool(judge: JudgeEntry, rows: int, resources: ResourcesConfig, view: ClusterView) -> PoolNeeds:
    """The pool of a judge that has the cluster to itself: as many replicas as fit and have work among `rows`."""
    assert judge.engine is not None
    device = _device(resources, judge.engine, view)
    replicas = resources.judge_replicas or (1 if device == "cpu" else None)
    useful = max(1, rows // resources.max_running)
    return _needs(judge.name, judge.engine, device, resources, replicas, useful)


def _needs(
    pool: str, engine: EngineNeeds, device: Device, resources: ResourcesConfig, wanted: int | None, useful: int = 1
) -> PoolNeeds:
    memory = ENGINE_OVERHEAD_GIGABYTES
    if device == "cpu":
        memory += engine.weight_gigabytes + resources.cpu_kv_cache_gigabytes
    gpus = engine.gpus if device == "cuda" else 0
    return PoolNeeds(pool, engine.source, device, CPUS_OF_AN_ENGINE, gpus, memory, wanted, useful)


def _device(resources: ResourcesConfig, engine: EngineNeeds, view: ClusterView) -> Device:
    if resources.device != "auto":
        return resources.device
    return "cpu" if engine.runs_on_cpu and not view.has_gpus else "cuda"
