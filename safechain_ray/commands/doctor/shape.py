"""Checks of sizes: a model's config against the catalog, its engine against GPU memory, a judge's context."""

from collections.abc import Iterator, Sequence
from typing import Any

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.catalog.parallelism import Attention
from safechain_ray.cluster.gpu_fit import KINDS_OF_GPUS, MODEL_CONTEXTS, fit_engine, fit_sentence
from safechain_ray.cluster.gpu_supply import Gpus
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.commands.doctor.prompt import (
    OTHER_TEMPLATE,
    PROBE,
    check_bos,
    render,
    template_failure,
)
from safechain_ray.engines.gpus import GpuReport, gpus_of_this_process, smallest_memory
from safechain_ray.errors import PlanError
from safechain_ray.types import Message


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


THOUGHT = "The Wallensteingraben does, and who counts ditches?"

ANSWER = "One: the Wallensteingraben."

RESPONSE = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"

"""The text for the judge. R1's own template, for example, would strip the thought from it."""

VERDICT_TOKENS = 20

"""Tokens that a judge writes."""


def check_judge_prompt(subject: Subject, tokenizer: Any, chat_template: str | None) -> Iterator[Finding]:
    try:
        prompt = render(tokenizer, (Message("user", PROBE), Message("assistant", RESPONSE)), chat_template)
    except Exception as error:  # a template is foreign code, and may raise anything
        yield template_failure(subject, tokenizer, chat_template, error)
        return
    yield check_conversation(subject, prompt)
    yield check_bos(subject, tokenizer, prompt)


def check_conversation(subject: Subject, prompt: str) -> Finding:
    parts = {"request": PROBE, "thought": THOUGHT, "answer": ANSWER}
    dropped = [name for name, text in parts.items() if text not in prompt]
    if dropped:
        return subject.failed("chat template", f"it drops the {' and the '.join(dropped)}", OTHER_TEMPLATE)
    return subject.ok("chat template", "holds request, thought and answer whole")


def template_tokens(tokenizer: Any, chat_template: str | None) -> int:
    """Tokens of the judge's prompt beside request and response. Raises the errors of the template."""
    prompt = render(tokenizer, (Message("user", "."), Message("assistant", ".")), chat_template)
    return len(tokenizer(prompt, add_special_tokens=False).input_ids)


def check_room(
    subject: Subject, model: EngineNeeds, judge: EngineNeeds, max_tokens: int, own_tokens: int | None
) -> Finding:
    """Whether the longest response fits the judge's context with its prompt, counted in the model's tokens.

    `own_tokens` are those of the judge's template, None where they are not known.
    """
    response = min(max_tokens, model.context_length)
    left = judge.context_length - VERDICT_TOKENS - (own_tokens or 0) - response
    budget = f"context {judge.context_length:,}, a response up to {response:,}"
    budget += f", its own text {own_tokens:,}" if own_tokens is not None else ", its own text not counted"
    if left < 0:
        return subject.warning(
            "room",
            f"{budget} tokens: {-left:,} too few, and longer responses become judge errors",
            "raise the judge's context_length, or lower max_tokens",
        )
    return subject.ok("room", f"{budget}: {left:,} tokens left for the request")
