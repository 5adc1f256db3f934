"""Checks of a judge: what it is sent is whole, its server answers, and its context has room for a response."""

from collections.abc import Collection, Iterator
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
    yield check_conversation(subject, prompt, judge)
    is_raw = judge.request is not None and judge.request.raw is not None
    yield check_bos(subject, tokenizer, prompt, "request" if is_raw else "template")
    if judge.answers is not None and judge.answers.first_token is not None:
        yield check_tokens(subject, tokenizer, tuple(judge.answers.first_token.tokens))


def check_conversation(subject: Subject, prompt: str, judge: JudgeEntry) -> Finding:
    """What the judge is sent is whole. A judge whose request has no slot {prompt} reads the response alone."""
    parts = {"request": PROBE, "thought": THOUGHT, "answer": ANSWER}
    if judge.request is not None and "prompt" not in judge.request.slots:
        del parts["request"]
    if judge.request is not None and judge.request.raw is not None:
        return subject.ok("request", f"{listed(parts)} are in it; it is raw, so no chat template is applied")
    dropped = [name for name, text in parts.items() if text not in prompt]
    if dropped:
        fix = OTHER_TEMPLATE
        if judge.request is not None and dropped == ["thought"]:
            fix = "add `marks: [<think>, </think>]` to request, so that the template keeps the thought"
        return subject.failed("chat template", f"it drops the {' and the '.join(dropped)}", fix)
    return subject.ok("chat template", f"holds {listed(parts)} whole")


def check_tokens(subject: Subject, tokenizer: Any, names: Collection[str]) -> Finding:
    """Whether each name that decides at the first token is one token, alone or after a blank."""
    counts = {name: min(_token_count(tokenizer, text) for text in (name, f" {name}")) for name in names}
    if split := [f"{name} is {count} tokens" for name, count in counts.items() if count > 1]:
        return subject.warning(
            "tokens",
            f"{', '.join(split)}: its first token alone decides",
            "name in answers.first_token.tokens what the model writes as its first token",
        )
    return subject.ok("tokens", f"{', '.join(names)}: one token each")


def _token_count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def listed(names: Collection[str]) -> str:
    """The names as a phrase: `request, thought and answer`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


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
