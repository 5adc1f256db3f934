"""Whether a model's own config agrees with what the catalog asks of its engine: sizes, layers, context, memory."""

from collections.abc import Iterator
from typing import Any

from safechain_ray.catalog.entries import GPU_GIGABYTES, EngineNeeds, ParallelSizes
from safechain_ray.pipelines.doctor.finding import Finding, Subject

FULL = 0.85
"""The share of a GPU's memory that weights may take: vLLM uses 0.9 of it, and the KV cache wants the rest."""


def check_shape(subject: Subject, needs: EngineNeeds, config: Any | None, gpu_memory: int | None) -> Iterator[Finding]:
    """`config` is the model's, as transformers reads it; without one only memory is checked.

    `gpu_memory` is what the sizes of `needs` were chosen for; None checks all that are listed.
    """
    text = config.get_text_config() if config is not None else None
    if text is None:
        yield subject.not_checked("heads and context", "they stand in the model's config")
    else:
        yield check_context(subject, needs, getattr(text, "max_position_embeddings", None))
    own = ParallelSizes(
        tensor_parallel_size=needs.tensor_parallel_size, pipeline_parallel_size=needs.pipeline_parallel_size
    )
    for gigabytes in [gpu_memory] if gpu_memory else sorted({GPU_GIGABYTES, *needs.smaller_gpus}):
        sizes = own if gpu_memory else needs.sizes_on(gigabytes)
        if text is not None:
            yield check_sizes(subject, gigabytes, sizes, text.num_attention_heads, text.num_hidden_layers)
        yield check_memory(subject, needs, gigabytes, sizes)


def check_context(subject: Subject, needs: EngineNeeds, longest: int | None) -> Finding:
    if longest is None:
        return subject.not_checked("context", "the model's config names no longest context")
    if needs.context_length > longest:
        return subject.failed(
            "context",
            f"{needs.context_length:,} tokens are asked for, the model has {longest:,}",
            f"set the engine's context_length to {longest} or less",
        )
    return subject.ok("context", f"{needs.context_length:,} of the model's {longest:,} tokens")


def check_sizes(subject: Subject, gigabytes: int, sizes: ParallelSizes, heads: int, layers: int) -> Finding:
    check = f"parallel on {gigabytes} GB"
    tensor, pipeline = sizes.tensor_parallel_size, sizes.pipeline_parallel_size
    if heads % tensor:
        fitting = max(size for size in range(1, tensor) if heads % size == 0)
        return subject.failed(
            check,
            f"{heads} attention heads can't be split in {tensor}",
            f"set tensor_parallel_size to a divisor, such as {fitting}",
        )
    if pipeline > layers:
        return subject.failed(
            check, f"{layers} layers can't be split in {pipeline}", f"set pipeline_parallel_size to {layers} or less"
        )
    return subject.ok(check, f"tensor {tensor} divides {heads} heads, pipeline {pipeline}: {sizes.gpus} in all")


def check_memory(subject: Subject, needs: EngineNeeds, gigabytes: int, sizes: ParallelSizes) -> Finding:
    check = f"memory on {gigabytes} GB"
    each = needs.weight_gigabytes / sizes.gpus
    if each > FULL * gigabytes:
        return subject.failed(
            check,
            f"{each:.1f} GB of weights on each of {sizes.gpus} GPUs leave no room for the KV cache",
            "raise tensor_parallel_size",
        )
    return subject.ok(check, f"{each:.3g} GB of weights on each GPU")
