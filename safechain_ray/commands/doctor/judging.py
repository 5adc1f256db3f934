"""Checks of a judge: its prompt holds request and response whole, and has room for the longest response."""

from collections.abc import Iterator
from typing import Any

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.commands.doctor.finding import Finding, Subject
from safechain_ray.commands.doctor.prompt import (
    OTHER_TEMPLATE,
    PROBE,
    check_bos,
    render,
    template_failure,
)
from safechain_ray.types import Message

THOUGHT = "The Wallensteingraben does, and who counts ditches?"
ANSWER = "One: the Wallensteingraben."
RESPONSE = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
"""What the judge is given; R1's own template, for one, would strip the thought from it."""

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
    """Tokens of the judge's prompt beside request and response. Raises whatever the template raises."""
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
