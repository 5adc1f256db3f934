"""The plan of a training: memory of each worker, placement on the cluster, and the data as far as reading is cheap.

GPU memory is estimated from the model's shape, before anything is loaded. Weights, gradients and optimizer states
follow from what FSDP 2 stores. The other items are conservative estimates. None of them has been measured on GPUs
yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from safechain_ray.catalog.entries import GPU_GIGABYTES
from safechain_ray.catalog.model_shapes import ModelShape
from safechain_ray.cluster.planner import ClusterView, PoolNeeds
from safechain_ray.cluster.training.run import check_workers
from safechain_ray.commands.finetune.resolve import BaseModelSpec, UnreadHubError, read_training_set, tokenise_set
from safechain_ray.config import FinetuneConfig, LoraOptions, TrainingOptions
from safechain_ray.datasets.training_sets import TrainingSet
from safechain_ray.engines.start import Device
from safechain_ray.errors import InputError, PlanError
from safechain_ray.storage import redact
from safechain_ray.training.tokens import TokenCounts

GIB = 2**30
"""Unit of GPU memory: vendors' "GB" of GPU memory are GiB."""

MASTER_BYTES = 4
"""Trained weights, their gradients and each of AdamW's two states are float32 at any computation precision."""

LOGIT_TILE_TOKENS = 4096
"""TRL computes the logits of so many tokens at a time; the full logits never exist."""

RUNTIME_GIB = 3.0
"""CUDA's context, NCCL's buffers and fragmentation of the allocator."""

ACTIVATIONS_OF_HIDDEN, ACTIVATIONS_OF_INTERMEDIATE = 10, 4
"""Values per token that a layer stores between forward and backward pass, in multiples of the model's width."""


@dataclass(frozen=True, slots=True)
class MemoryItem:
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Peak GPU memory of each of `shards` processes during a step."""

    shards: int
    sharded: bool
    items: tuple[MemoryItem, ...]

    @property
    def gigabytes(self) -> float:
        return sum(item.bytes for item in self.items) / GIB

    def fits(self, gpu_gigabytes: float) -> bool:
        return self.gigabytes <= gpu_gigabytes


def plan_memory(
    shape: ModelShape, options: TrainingOptions, max_length: int, shards: int, sharded: bool = True
) -> MemoryPlan:
    """The plan for packed sequences of `max_length` tokens, one at a time in each process.

    Without `sharded` (CPUs, or one process) each process has the whole model.
    """
    sharded = sharded and shards > 1
    parts = shards if sharded else 1
    computed = 2 if options.precision == "bfloat16" else 4
    if options.lora is None:
        trained, weights = shape.parameters, MASTER_BYTES * shape.parameters
    else:
        trained = shape.adapter_parameters(options.lora.rank)
        weights = computed * shape.parameters + MASTER_BYTES * trained
    items = {
        "weights": weights // parts,
        "gradients": MASTER_BYTES * trained // parts,
        "AdamW's two states": 2 * MASTER_BYTES * trained // parts,
        "gathered layers": _gathered(shape, options, computed, sharded),
        "activations": _activations(shape, options, max_length) * computed,
        "logits": _logits(shape, options, max_length),
        "attention mask": 3 * max_length**2,  # one byte, and two as the kernel adds it; none under Flash Attention
        "runtime": int(RUNTIME_GIB * GIB),
    }
    return MemoryPlan(shards, sharded, tuple(MemoryItem(*item) for item in items.items()))


def _gathered(shape: ModelShape, options: TrainingOptions, computed: int, sharded: bool) -> int:
    """Bytes of the gathered layers: the computing one, the next one and the output matrix, with gradients if trained.

    Unsharded float32 weights are copied to bfloat16 for a step.
    """
    if not sharded:
        return computed * shape.parameters if computed < MASTER_BYTES and options.lora is None else 0
    values = 2 * shape.layer_parameters + shape.embedding_parameters
    if options.lora is None:
        values += shape.layer_parameters + shape.embedding_parameters
    return computed * values


def _activations(shape: ModelShape, options: TrainingOptions, tokens: int) -> int:
    """Values stored for the backward pass: of every layer, or with checkpointing all inputs and one whole layer."""
    layer = tokens * (ACTIVATIONS_OF_HIDDEN * shape.hidden + ACTIVATIONS_OF_INTERMEDIATE * shape.intermediate)
    if not options.gradient_checkpointing:
        return shape.layers * layer
    return shape.layers * tokens * shape.hidden + layer


def _logits(shape: ModelShape, options: TrainingOptions, tokens: int) -> int:
    """Bytes of a tile of logits with its gradient, and of the output matrix's gradient, all float32."""
    tile = 2 * min(tokens, LOGIT_TILE_TOKENS) * shape.vocabulary
    of_matrix = shape.embedding_parameters if options.lora is None else 0
    return 4 * (tile + of_matrix)


BYTES_READ = 1e9
"""Bytes of the unit in which a cluster's GPU memory is read."""

WORKER_GIGABYTES = 4.0
"""Memory of the node for a worker on a GPU, beside its share of the weights."""

MOST_WORKERS = 64
"""Most workers that the fix for too little memory proposes."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A plan with its `notes`, or the reason of its `refusal`. `gpu_gigabytes` are those of each GPU."""

    device: Device
    gpu_gigabytes: float
    memory: MemoryPlan
    worker: PoolNeeds
    workers: int
    notes: tuple[str, ...]
    refusal: str | None


def check_training(config: FinetuneConfig, base: BaseModelSpec, view: ClusterView) -> TrainingPlan:
    """The plan. Raises PlanError if the GPUs' memory does not suffice, or the workers don't fit together."""
    plan = plan_training(config, base, view)
    if plan.refusal is not None:
        raise PlanError(plan.refusal)
    return plan


def plan_training(config: FinetuneConfig, base: BaseModelSpec, view: ClusterView) -> TrainingPlan:
    """The memory plan, and the placement of the workers on this cluster."""
    resources = config.resources
    device = _device(config, base, view)
    memory = memory_of(config, base, device)
    own = memory.gigabytes
    if device == "cuda":  # one process of a node reads the whole weights; the first one gathers them at the end
        own = WORKER_GIGABYTES + 1.5 * MASTER_BYTES * base.shape.parameters / GIB / resources.workers
    gpus = 1 if device == "cuda" else 0
    worker = PoolNeeds("training", redact(base.entry.source), device, resources.cpus_per_worker, gpus, own)
    note, refusal = None, None
    gpu_gigabytes = _gpu_memory(config, view)
    if device == "cuda" and not memory.fits(gpu_gigabytes):
        refusal = _too_small(config, base, memory, gpu_gigabytes)
    else:
        try:
            note = check_workers(worker, resources.workers, view)
        except PlanError as error:
            refusal = str(error)
    return TrainingPlan(device, gpu_gigabytes, memory, worker, resources.workers, (note,) if note else (), refusal)


def memory_of(config: FinetuneConfig, base: BaseModelSpec, device: Device) -> MemoryPlan:
    return plan_memory(
        base.shape, config.training, config.max_length, config.resources.workers, sharded=device == "cuda"
    )


def _device(config: FinetuneConfig, base: BaseModelSpec, view: ClusterView) -> Device:
    if config.resources.device != "auto":
        return config.resources.device
    return "cpu" if base.entry.runs_on_cpu and not view.has_gpus else "cuda"


def _gpu_memory(config: FinetuneConfig, view: ClusterView) -> float:
    """GiB of each GPU, as the memory plan counts: by the config, else as read, else 80."""
    if config.resources.gpu_memory is not None:
        return config.resources.gpu_memory
    known = view.gpus_of(None)
    return GPU_GIGABYTES if known is None else known.gigabytes * BYTES_READ / GIB


def _too_small(config: FinetuneConfig, base: BaseModelSpec, memory: MemoryPlan, gigabytes: float) -> str:
    workers = config.resources.workers
    lines = "".join(f"\n  {item.name:<20} {item.bytes / GIB:6.1f}" for item in memory.items)
    return (
        f"Training {base.entry.name} with {workers} workers takes {memory.gigabytes:.1f} GB of each GPU, and each "
        f"has {gigabytes:.3g} GB:{lines}\nFix: {'; or '.join(_fixes(config, base, gigabytes))}; "
        "or plan for other GPUs with --gpu-memory."
    )


def _fixes(config: FinetuneConfig, base: BaseModelSpec, gigabytes: float) -> list[str]:
    """Changes that would fit: more workers, shorter sequences, adapters."""

    def fits(options: TrainingOptions, length: int, workers: int) -> bool:
        return plan_memory(base.shape, options, length, workers).fits(gigabytes)

    options, length, workers = config.training, config.max_length, config.resources.workers
    fixes = []
    more = next((count for count in _doubled(workers) if fits(options, length, count)), None)
    if more is not None:
        fixes.append(f"use {more} workers")
    shorter = next((cut for cut in (length // 2, length // 4) if cut >= 1024 and fits(options, cut, workers)), None)
    if shorter is not None:
        fixes.append(f"lower max_length to {shorter:,} (longer examples are left out)")
    adapters = options.model_copy(update={"lora": LoraOptions()})
    if options.lora is None and fits(adapters, length, workers):
        fixes.append("train adapters (--lora)")
    return fixes or ["use GPUs with more memory, or a smaller model"]


def _doubled(workers: int) -> list[int]:
    return [workers * 2**power for power in range(1, 7) if workers * 2**power <= MOST_WORKERS]


TOKENS_COUNTED = 5_000
"""Most demonstrations whose tokens a plan counts, which takes seconds; 40,000 long ones take minutes."""


@dataclass(frozen=True, slots=True)
class DataPlan:
    """The data of a training as far as a plan reads it; `refusal` is why it can't be trained on.

    `learnt` and `held_out` are None if the tokens were not counted; `notes` then give the reason.
    """

    source: str | None = None
    rows: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    demonstrations: int | None = None
    rows_left_out: Mapping[str, int] = field(default_factory=dict)
    learnt: TokenCounts | None = None
    held_out: TokenCounts | None = None
    notes: tuple[str, ...] = ()
    refusal: str | None = None


def plan_data(config: FinetuneConfig, base: BaseModelSpec) -> DataPlan:
    """Read the training set, and count its tokens if it is small. A fault of the set is the plan's `refusal`."""
    try:
        source = read_training_set(config.training_set, base)
    except UnreadHubError as error:
        return DataPlan(notes=(f"The training set was not read, but the training needs it. {error}",))
    except InputError as error:
        return DataPlan(refusal=str(error))
    if len(source.demonstrations) > TOKENS_COUNTED:
        return _planned(source, f"Tokens are not counted in a plan of more than {TOKENS_COUNTED:,} demonstrations.")
    try:
        training_data = tokenise_set(config, base, source)
    except UnreadHubError as error:
        return _planned(source, f"Tokens were not counted, because the model's tokenizer could not be loaded. {error}")
    except InputError as error:
        return _planned(source, refusal=str(error))
    held_out = None if training_data.held_out is None else training_data.held_out.counts
    return _planned(source, learnt=training_data.learnt.counts, held_out=held_out)


def _planned(
    source: TrainingSet,
    note: str | None = None,
    *,
    learnt: TokenCounts | None = None,
    held_out: TokenCounts | None = None,
    refusal: str | None = None,
) -> DataPlan:
    return DataPlan(
        source.source,
        source.rows,
        source.columns,
        len(source.demonstrations),
        source.left_out,
        learnt,
        held_out,
        () if note is None else (note,),
        refusal,
    )
