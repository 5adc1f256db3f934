"""Checks a model's own config against the catalog, and its engine against the memory of GPUs."""

from collections.abc import Iterator, Sequence
from typing import Any

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.catalog.parallelism import Attention
from safechain_ray.cluster.gpu_fit import KINDS_OF_GPUS, MODEL_CONTEXTS, fit_engine, fit_sentence
from safechain_ray.cluster.gpu_supply import Gpus
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.engines.gpus import GpuReport, gpus_of_this_process, smallest_memory
from safechain_ray.errors import PlanError


def gpus_to_check(gpu_memory: int | None, report: GpuReport) -> tuple[Gpus, ...]:
    """The GPUs of `gpu_memory` gigabytes that the user asks about, else those of this machine, else common ones."""
    if gpu_memory is not None:
        return (Gpus(gpu_memory),)
    here = gpus_of_this_process(report)
    if memory := smallest_memory(here):
        return (Gpus(memory, len(here), len(here)),)
    return tuple(Gpus(gigabytes) for gigabytes in KINDS_OF_GPUS)


def check_shape(
    subject: Subject,
    needs: EngineNeeds,
    config: Any | None,
    gpus: Sequence[Gpus],
    tokens: int | None = None,
    contexts: int = MODEL_CONTEXTS,
) -> Iterator[Finding]:
    """`config` is the model's, as transformers reads it; without one only memory is checked.

    `tokens` bound a request, and the KV cache should hold `contexts` contexts, as in a plan.
    """
    if config is None:
        yield subject.not_checked("attention and context", "they are in the model's config")
    else:
        yield check_context(subject, needs, getattr(config.get_text_config(), "max_position_embeddings", None))
        yield check_attention(subject, needs, Attention.of_config(config))
        needs = needs.model_copy(update={"attention": Attention.of_config(config) or needs.attention})
    for each in gpus:
        yield check_memory(subject, needs, each, tokens, contexts)


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


def check_attention(subject: Subject, needs: EngineNeeds, own: Attention | None) -> Finding:
    """Whether the catalog's attention, by which plans compute the KV cache, is that of the model's config."""
    if own is None:
        return subject.not_checked("attention", "the model's config names no layers or heads")
    found = f"{own.layers} layers, {own.heads} heads, {own.key_value_heads} key-value heads of {own.head_size}"
    known = needs.attention
    if known is not None and own.latent_size is not None:  # vLLM does not use the size of their heads
        own, known = (each.model_copy(update={"head_size": 1}) for each in (own, known))
    if known not in (None, own):
        return subject.failed(
            "attention",
            f"config.json has {found}; the catalog has another attention",
            "correct attention of the catalog's entry, or the model's name",
        )
    return subject.ok("attention", found)


def check_memory(subject: Subject, needs: EngineNeeds, gpus: Gpus, tokens: int | None, contexts: int) -> Finding:
    check = f"memory on {gpus.gigabytes:.3g} GB"
    try:
        fit = fit_engine(needs, gpus, tokens, contexts)
    except PlanError as error:
        detail, _, fix = str(error).partition("Fix: ")
        return subject.failed(check, detail.rstrip(), fix.removesuffix("."))
    return subject.ok(check, fit_sentence(needs, fit))
