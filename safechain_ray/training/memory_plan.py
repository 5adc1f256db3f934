"""Estimate of the GPU memory that training needs, from the model's shape, before anything is loaded.

Weights, gradients and optimizer states follow from what FSDP 2 stores. The other items are conservative estimates. None
of them has been measured on GPUs yet.
"""

from dataclasses import dataclass

from safechain_ray.catalog.entries import ModelShape
from safechain_ray.config.finetune import TrainingOptions

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
