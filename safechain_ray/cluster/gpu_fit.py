"""Fits an engine onto GPUs: parallel sizes and context length by memory, or shares of one GPU for several engines.

Each GPU has its part of the weights, working memory, and its part of the KV cache. vLLM refuses to start where the KV
cache is smaller than one full context. With the cache of one context an engine decodes one long request at a time. So a
model gets more GPUs until the cache has `MODEL_CONTEXTS` contexts. A judge writes few tokens and needs one context.

On a machine with one GPU, `share_one_gpu` divides the memory between the engines. vLLM's `gpu_memory_utilization` is a
share of the whole GPU for each engine, without the engine's CUDA context.

`Gpus` is the supply: the number of GPUs on a node and in the cluster, and their memory.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.catalog.parallelism import ParallelSizes
from safechain_ray.engines.gpus import DEFAULT_SHARE, SHARE_ARGUMENT, memory_share
from safechain_ray.engines.start import RUNNING
from safechain_ray.errors import PlanError
from safechain_ray.storage import redact

MANY_GPUS = 64
"""The assumed total number of GPUs, where the capacity of an autoscaler is unknown."""

GIGABYTES_OF_TYPES: Mapping[str, float] = {
    "T4": 16,
    "V100": 16,
    "A10G": 24,
    "L4": 24,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 80,
    "L40S": 48,
    "H100": 80,
    "H20": 96,
    "RTX-PRO-6000": 96,
    "H200": 141,
    "B200": 180,
}
"""GB of memory by Ray's accelerator type (ray.util.accelerators, 2.60), from NVIDIA's data sheets.

Used for nodes of an autoscaler and for nodes that do not answer. Where a type has two sizes, this is the smaller one.
"""


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that an engine may use: how many on the largest node and in total, and the memory of the smallest one.

    Memory is in GB (1e9 bytes). `by_node` has the number of GPUs and the memory of each, for nodes that differ. Where
    `are_known` is False, an autoscaler may add nodes with any number of GPUs.
    """

    gigabytes: float
    a_node: int = 8
    in_all: int = MANY_GPUS
    by_node: tuple[tuple[int, float], ...] = ()
    are_known: bool = True

    @property
    def across_nodes(self) -> int:
        """GPUs of a tensor-parallel group in a replica that spans nodes. Ray fills nodes, and no group may span two."""
        return math.gcd(*(count for count, _ in self.by_node)) or self.a_node

    def memory_for(self, gpus: int) -> float:
        """Memory of the smallest GPU among nodes with at least `gpus` GPUs, as Ray may use any of these nodes."""
        return min((memory for count, memory in self.by_node if count >= gpus), default=self.gigabytes)

    def __str__(self) -> str:
        return f"GPUs of {self.gigabytes:.3g} GB"


GB = 1e9
"""Bytes, in the unit of GPU vendors' figures."""

WORKING_GIGABYTES = 1.5
"""CUDA's context, NCCL's buffers and CUDA graphs on each GPU. An estimate: it has not been measured."""

WORKING_SHARE = 0.05
"""Activations of a prefill step, as a share of the weights on each GPU. An estimate, too."""

CONTEXT_GIGABYTES = 0.5
"""CUDA's context of each further engine on a GPU, which vLLM does not count. An estimate."""

SPARE_GIGABYTES = 1.0
"""Reserve for each engine on a shared GPU, as all needs are estimates."""

SPARE_FACTOR = 1.1
"""KV cache for a context that is wanted but not needed, as the memory left for the cache is an estimate."""

POWERS_OF_TWO = tuple(2**power for power in range(7))

MODEL_CONTEXTS = 4

JUDGE_CONTEXTS = 1

UNKNOWN_ATTENTION_BYTES = 16_384
"""KV cache of a token for each billion parameters, where `config.json` is not known: Llama 3's 8B.

In a mixture of experts the cache follows neither all parameters nor the active ones. Their geometric mean is used,
which is above the real size for Qwen3-30B-A3B (1.7 times) and gpt-oss-120b (5 times).
"""

PARALLEL_FIELDS = {"tensor_parallel_size", "pipeline_parallel_size"}

LARGE_GPU_GIGABYTES = 70 * 2**30 / GB

LARGE_SHARE = 0.85

RUNNING_ON_LARGE_GPUS = 1_024
"""The default of vLLM's offline class (0.25.1 to 0.33.0, `get_batch_defaults`), except on A100: 256 on A100 and on
smaller GPUs."""

TYPICAL_TOKENS = 1_000
"""Tokens of prompt and response of a request half way. With less KV cache for each request vLLM preempts requests."""

KINDS_OF_GPUS = (24, 48, 80, 141)
"""GB of memory of the GPUs that an error message suggests."""


@dataclass(frozen=True, slots=True)
class GpuFit:
    """Parallel sizes and memory of one replica on GPUs of `gpu_gigabytes`, with `memory_share` of each GPU.

    `fixed_gigabytes` of each GPU are weights and working memory. The rest is KV cache, of `token_gigabytes` a token. No
    request is longer than `needed_context`; `wanted_context` is from the catalog or the user.
    """

    sizes: ParallelSizes
    gpu_gigabytes: float
    memory_share: float
    user_set_share: bool
    fixed_gigabytes: float
    token_gigabytes: float
    needed_context: int
    wanted_context: int

    @property
    def cache_tokens(self) -> int:
        """Capacity of the replica's KV cache in tokens."""
        cache = self.memory_share * self.gpu_gigabytes - self.fixed_gigabytes
        return int(cache / self.token_gigabytes + 1e-6)

    @property
    def context_length(self) -> int:
        """The wanted context where the KV cache fits it with a reserve, else the needed one."""
        return self.wanted_context if self.cache_tokens >= SPARE_FACTOR * self.wanted_context else self.needed_context

    @property
    def most_running(self) -> int:
        """The highest concurrency: requests that the engine decodes at once, where there are enough rows."""
        large = self.gpu_gigabytes >= LARGE_GPU_GIGABYTES and self.memory_share >= LARGE_SHARE
        return max(RUNNING, min(RUNNING_ON_LARGE_GPUS if large else RUNNING, self.cache_tokens // TYPICAL_TOKENS))

    @property
    def facts(self) -> dict[str, float]:
        """The fit for the run record."""
        return {
            **self.sizes.model_dump(),
            "context_length": self.context_length,
            "gpu_gigabytes": round(self.gpu_gigabytes, 1),
            "memory_share": round(self.memory_share, 3),
            "kv_cache_tokens": self.cache_tokens,
        }

    @property
    def cache_gigabytes(self) -> float:
        """KV cache of one needed context on each GPU."""
        return self.needed_context * self.token_gigabytes

    @property
    def least_gigabytes(self) -> float:
        """Memory of each GPU that the engine needs to start: vLLM refuses a KV cache of less than one context."""
        return self.fixed_gigabytes + self.cache_gigabytes


def fit_engine(engine: EngineNeeds, gpus: Gpus, tokens: int | None = None, contexts: int = MODEL_CONTEXTS) -> GpuFit:
    """The fewest GPUs whose KV cache fits `contexts` contexts; else the GPUs of a node with the largest cache.

    A replica spans nodes only where it fits no single node. `tokens` is the bound of prompt and completion together.
    Where the engine's whole context does not fit, the context is lowered to this bound, which cuts no request. Without
    a bound, and where the user has set the context, the context is unchanged.

    Raises:
        PlanError: No parallel size fits (the message lists fixes), or the user's sizes do not divide the heads.

    Example:
        >>> fit_engine(models()["R1-14B"], Gpus(48)).sizes.gpus
        2
    """
    _check_own_sizes(engine)
    fit = _best_fit(engine, gpus, tokens, contexts if gpus.are_known else 1)
    if fit is None:
        raise PlanError(_refusal(engine, gpus, tokens))
    return fit


def _check_own_sizes(engine: EngineNeeds) -> None:
    """Raise PlanError for sizes of the user that vLLM refuses."""
    attention, sizes = engine.attention, engine.sizes
    if attention is None:
        return
    if not attention.divides(sizes.tensor_parallel_size):
        possible = [str(size) for size in range(1, 17) if attention.divides(size)]
        raise PlanError(
            f"{redact(engine.source)} has {attention.heads} attention heads and {attention.key_value_heads} key-value "
            f"heads, which tensor_parallel_size {sizes.tensor_parallel_size} does not divide. "
            f"Fix: use one of {', '.join(possible)}."
        )
    if sizes.pipeline_parallel_size > attention.layers:
        raise PlanError(
            f"{redact(engine.source)} has {attention.layers} layers, fewer than pipeline_parallel_size "
            f"{sizes.pipeline_parallel_size}. Fix: lower pipeline_parallel_size to {attention.layers} or less."
        )


def _best_fit(engine: EngineNeeds, gpus: Gpus, tokens: int | None, contexts: int = 1) -> GpuFit | None:
    needed = _needed_context(engine, tokens)
    fits = [fit for sizes in _possible_sizes(engine, gpus) if (fit := _fit(engine, gpus, sizes, needed)) is not None]
    on_a_node = [fit for fit in fits if fit.sizes.gpus <= gpus.a_node]
    enough = (fit for fit in on_a_node if fit.cache_tokens >= contexts * needed)
    most = max(on_a_node, key=lambda fit: fit.cache_tokens, default=None)
    return next(enough, most) or next(iter(fits), None)


def _needed_context(engine: EngineNeeds, tokens: int | None) -> int:
    if tokens is None or "context_length" in engine.fixed:
        return engine.context_length
    return min(tokens, engine.context_length)


def _possible_sizes(engine: EngineNeeds, gpus: Gpus) -> Iterator[ParallelSizes]:
    """Sizes from one GPU upwards: tensor-parallel within a node, then pipeline-parallel across nodes."""
    if engine.fixed & PARALLEL_FIELDS:
        yield engine.sizes
        return
    attention = engine.attention
    tensors = [size for size in POWERS_OF_TWO if attention is None or attention.divides(size)]
    for tensor in tensors:
        if tensor <= min(gpus.a_node, gpus.in_all):
            yield ParallelSizes(tensor_parallel_size=tensor)
    widest = max(size for size in tensors if gpus.across_nodes % size == 0)
    for pipeline in range(2, gpus.in_all // widest + 1):
        if attention is not None and pipeline > attention.layers:
            return
        if widest * pipeline > gpus.a_node:
            yield ParallelSizes(tensor_parallel_size=widest, pipeline_parallel_size=pipeline)


def _fit(engine: EngineNeeds, gpus: Gpus, sizes: ParallelSizes, needed: int) -> GpuFit | None:
    weights = engine.weight_gigabytes / sizes.gpus
    fit = GpuFit(
        sizes=sizes,
        gpu_gigabytes=gpus.memory_for(sizes.gpus),
        memory_share=memory_share(engine.engine_kwargs),
        user_set_share=SHARE_ARGUMENT in engine.engine_kwargs,
        fixed_gigabytes=weights + WORKING_GIGABYTES + WORKING_SHARE * weights,
        token_gigabytes=cache_bytes(engine, sizes) / GB,
        needed_context=needed,
        wanted_context=engine.context_length,
    )
    return fit if fit.cache_tokens >= needed else None


def cache_bytes(engine: EngineNeeds, sizes: ParallelSizes) -> float:
    """Bytes of KV cache of a token on each GPU."""
    if engine.attention is not None:
        return engine.attention.cache_bytes(sizes) * (2 if engine.dtype == "float32" else 1)
    billions = math.sqrt(engine.parameters * engine.computed_parameters)
    return UNKNOWN_ATTENTION_BYTES * max(billions, 1.0) / sizes.gpus


def _refusal(engine: EngineNeeds, gpus: Gpus, tokens: int | None) -> str:
    needed = _needed_context(engine, tokens)
    cache = needed * cache_bytes(engine, ParallelSizes()) / GB
    own_share = SHARE_ARGUMENT in engine.engine_kwargs
    share = f" with {SHARE_ARGUMENT} {memory_share(engine.engine_kwargs):g}" if own_share else ""
    return (
        f"{redact(engine.source)} does not fit {gpus}{share}, {gpus.a_node} per node and {gpus.in_all} in total: its "
        f"weights take {engine.weight_gigabytes:.1f} GB, the KV cache of {needed:,} tokens takes {cache:.1f} GB.\n"
        f"Fix: {'; or '.join(_fixes(engine, gpus, tokens))}."
    )


def _fixes(engine: EngineNeeds, gpus: Gpus, tokens: int | None) -> list[str]:
    """Changes with which the engine would fit: keys of the engine, or other GPUs."""
    free = engine.model_copy(update={"fixed": engine.fixed - PARALLEL_FIELDS})
    fixes = []
    if engine.fixed & PARALLEL_FIELDS and _best_fit(free, gpus, tokens):
        fixes.append("leave out tensor_parallel_size and pipeline_parallel_size of its engine")
    kwargs = {name: value for name, value in engine.engine_kwargs.items() if name != SHARE_ARGUMENT}
    if len(kwargs) < len(engine.engine_kwargs) and _best_fit(_with(free, engine_kwargs=kwargs), gpus, tokens):
        fixes.append(f"leave out {SHARE_ARGUMENT} of its engine_kwargs")
    if "context_length" in engine.fixed and _best_fit(_with(free, fixed=frozenset()), gpus, tokens):
        fixes.append("leave out context_length of its engine")
    half = engine.context_length // 2
    if not fixes and _best_fit(_with(free, context_length=half), gpus, None):
        fixes.append(f"lower context_length of its engine, for example to {half}")
    can_be_quantized = engine.quantization is None and not engine.is_quantized
    if can_be_quantized and _best_fit(_with(free, quantization="fp8"), gpus, tokens):
        fixes.append("set quantization: fp8 of its engine, which changes results")
    kinds = [gpus.gigabytes, *(kind for kind in KINDS_OF_GPUS if kind > gpus.gigabytes)]
    on_others = ((kind, _best_fit(free, Gpus(kind), tokens)) for kind in kinds)
    fixes += [f"use {_counted(fit.sizes.gpus)} of {kind:.3g} GB" for kind, fit in on_others if fit is not None]
    return fixes[:4] or ["use a smaller model"]


def _with(engine: EngineNeeds, **fields: object) -> EngineNeeds:
    return engine.model_copy(update=fields)


def _counted(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def fit_sentence(engine: EngineNeeds, fit: GpuFit) -> str:
    """Why a plan has these sizes, for the user."""
    sizes = (("tensor", fit.sizes.tensor_parallel_size), ("pipeline", fit.sizes.pipeline_parallel_size))
    spread = " x ".join(f"{kind} {size}" for kind, size in sizes if size > 1)
    number = _counted(fit.sizes.gpus) + (f" ({spread} parallel)" if spread else "")
    sentence = (
        f"{number} of {fit.gpu_gigabytes:.3g} GB for {engine.weight_gigabytes:.3g} GB of weights and a KV cache of "
        f"{fit.cache_tokens:,} tokens."
    )
    if fit.context_length < engine.context_length:
        sentence += (
            f" The context is {fit.context_length:,} tokens, which fits every request of this run; "
            f"{engine.context_length:,} do not fit."
        )
    if engine.attention is None:
        sentence += " The KV cache is estimated, as config.json is not known."
    return sentence


def share_one_gpu(fits: Sequence[GpuFit]) -> list[GpuFit] | None:
    """The engines with their shares of one GPU; None where loading them one after the other is faster.

    1. Every engine gets the memory that it needs to start.
    2. The judges get up to half of the rest, for a second context each.
    3. The model, `fits[0]`, gets the remaining memory, as its KV cache limits its concurrency. It must have half of the
       cache that it has alone, or enough cache for all its requests.
    4. Where the user has set a share, no shares are computed.
    """
    if any(fit.user_set_share for fit in fits):
        return None
    model, *judges = fits
    gpu = model.gpu_gigabytes
    rest = DEFAULT_SHARE * gpu - CONTEXT_GIGABYTES * len(judges) - sum(fit.least_gigabytes for fit in fits)
    if rest < SPARE_GIGABYTES * len(fits):
        return None
    extra = [min(rest / 2 / len(judges), fit.cache_gigabytes + SPARE_GIGABYTES) for fit in judges]
    used = [model.least_gigabytes + rest - sum(extra)]
    used += [fit.least_gigabytes + more for fit, more in zip(judges, extra, strict=True)]
    shared = [replace(fit, memory_share=gigabytes / gpu) for fit, gigabytes in zip(fits, used, strict=True)]
    enough = min(model.cache_tokens / 2, RUNNING * TYPICAL_TOKENS)
    return shared if shared[0].cache_tokens >= max(enough, MODEL_CONTEXTS * model.needed_context) else None
