"""Checks of a judge: its prompt has request, thought and answer whole, and its context has room for a response."""

from collections.abc import Iterator
from typing import Any

from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.commands.doctor.model import OTHER_TEMPLATE, PROBE, check_bos, render, template_failure
from safechain_ray.judges.forms import example_request
from safechain_ray.types import Message

THOUGHT = "The Wallensteingraben does, and who counts ditches?"

ANSWER = "One: the Wallensteingraben."

RESPONSE = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
"""The text for the judge. R1's own template, for example, would strip the thought from it."""

VERDICT_TOKENS = 20
"""Tokens that a judge writes."""


def _judge_prompt(tokenizer: Any, judge: JudgeEntry, request: str, response: str) -> str:
    """What the judge is sent about a response. Raises the errors of the template."""
    turns: str | tuple[Message, ...] = (Message("user", request), Message("assistant", response))
    if judge.request is not None:
        turns = example_request(judge, request, response)
    if isinstance(turns, str):
        return turns
    content = "text" if judge.engine is None else judge.engine.message_content
    return render(tokenizer, turns, _template_of(judge), message_content=content)


def _template_of(judge: JudgeEntry) -> str | None:
    return None if judge.engine is None else judge.engine.chat_template


def check_judge_prompt(subject: Subject, tokenizer: Any, judge: JudgeEntry) -> Iterator[Finding]:
    try:
        prompt = _judge_prompt(tokenizer, judge, PROBE, RESPONSE)
    except Exception as error:  # a template is foreign code, and may raise anything
        yield template_failure(subject, tokenizer, _template_of(judge), error)
        return
    yield check_conversation(subject, prompt)
    yield check_bos(subject, tokenizer, prompt)


def check_conversation(subject: Subject, prompt: str) -> Finding:
    parts = {"request": PROBE, "thought": THOUGHT, "answer": ANSWER}
    dropped = [name for name, text in parts.items() if text not in prompt]
    if dropped:
        return subject.failed("chat template", f"it drops the {' and the '.join(dropped)}", OTHER_TEMPLATE)
    return subject.ok("chat template", "holds request, thought and answer whole")


def template_tokens(tokenizer: Any, judge: JudgeEntry) -> int:
    """Tokens of the judge's prompt beside request and response. Raises the errors of the template."""
    prompt = _judge_prompt(tokenizer, judge, ".", ".")
    return len(tokenizer(prompt, add_special_tokens=False).input_ids)


def _fix_of_room(subject: Subject, judge: EngineNeeds, response: int, missing: int, longest: int | None) -> str:
    """The context that is needed, if the judge's model has it, and the longest response that fits now."""
    fitting, needed = response - missing, judge.context_length + missing
    lower = f"lower max_tokens to {fitting:,} or less" if fitting > 0 else "name a judge with a longer context"
    if longest is not None and longest < needed:
        return lower
    known = "" if longest is None else f" (the model has {longest:,})"
    return f"set {subject.key}.engine.context_length to {needed} or more{known}, or {lower}"


def check_room(
    subject: Subject,
    model: EngineNeeds,
    judge: EngineNeeds,
    max_tokens: int,
    own_tokens: int | None,
    longest: int | None = None,
    answer_tokens: int = VERDICT_TOKENS,
) -> Finding:
    """Whether the longest response fits the judge's context with its prompt, counted in the model's tokens.

    `own_tokens` are those of the judge's template, `longest` is the longest context of the judge's model; None where
    they are not known. `answer_tokens` are those that the judge may write.
    """
    response = min(max_tokens, model.context_length)
    left = judge.context_length - answer_tokens - (own_tokens or 0) - response
    budget = f"context {judge.context_length:,}, a response up to {response:,}"
    budget += f", its own text {own_tokens:,}" if own_tokens is not None else ", its own text not counted"
    if left < 0:
        return subject.warning(
            "room",
            f"{budget} tokens: {-left:,} too few, and longer responses become judge errors",
            _fix_of_room(subject, judge, response, -left, longest),
        )
    return subject.ok("room", f"{budget}: {left:,} tokens left for the request")
