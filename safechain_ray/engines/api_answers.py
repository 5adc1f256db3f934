"""Reads a chat completion as providers write it: thought, answer, tokens, or that it was withheld."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safechain_ray.errors import BlockedError, RowError
from safechain_ray.schema import FinishReason, ThinkingTags

FINISHED: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
}

WITHHELD = ("content_filter", "safety", "prohibited_content", "blocklist", "recitation", "spii", "refusal", "sensitive")
"""How a finish reason begins, in lower case, that says the provider kept the answer back (Gemini's own among them)."""

INTERRUPTED = "insufficient_system_resource"
"""DeepSeek's finish reason for a generation that it broke off for want of machines."""


class UnusableAnswerError(Exception):
    """The body is no chat completion: the request is worth another try."""


class InterruptedAnswerError(UnusableAnswerError):
    """The provider broke the generation off because it is overloaded."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider bills them; `reasoning_tokens` are among `output_tokens`, None where it doesn't say."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int | None


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """`reasoning` is None where the API hands none over apart: the content may hold it between tags."""

    reasoning: str | None
    content: str
    finish_reason: FinishReason

    def response(self, tags: ThinkingTags | None) -> str:
        """Thought and answer as one text, the thought between the family's tags, as a judge of an open model sees it.

        A thought that was cut stays open. A chat template that opens the thought leaves the opening tag out of the
        content: it is put back.
        """
        if tags is None:
            return "\n\n".join(filter(None, (self.reasoning, self.content)))
        if self.reasoning is None:
            opened = tags.close not in self.content or tags.open in self.content.partition(tags.close)[0]
            return self.content if opened else f"{tags.open}\n{self.content}"
        thought = f"{tags.open}\n{self.reasoning.strip()}"
        if self.finish_reason == "length" and not self.content:
            return thought
        return f"{thought}\n{tags.close}\n\n{self.content.lstrip()}"


def decode_body(body: bytes) -> Mapping[str, Any]:
    """The JSON object in `body`. Raises UnusableAnswerError."""
    try:
        decoded = json.loads(body)
    except ValueError as error:
        raise UnusableAnswerError(f"the answer is not JSON: {body[:80]!r}") from error
    if not isinstance(decoded, dict):
        raise UnusableAnswerError(f"the answer is no JSON object: {body[:80]!r}")
    return decoded


def read_usage(body: Mapping[str, Any]) -> Usage:
    """The bill; what a provider leaves out counts as nothing."""
    usage = _mapping(body.get("usage"))
    details = _mapping(usage.get("completion_tokens_details"))
    reasoning = details.get("reasoning_tokens")
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        None if reasoning is None else min(_count(reasoning), _count(usage.get("completion_tokens"))),
    )


def count_choices(body: Mapping[str, Any]) -> int:
    """How many answers a body holds; 1 where it holds none, of which `read_answer` says why."""
    return max(1, len(_list(body.get("choices"))))


def read_answer(body: Mapping[str, Any], place: int = 0) -> ApiAnswer:
    """The answer of the first choice, or of the one at `place`.

    Raises BlockedError for one that was withheld, RowError for one without a text, UnusableAnswerError for a body that
    another try may mend.
    """
    choice = _choice(body, place)
    message = _mapping(choice.get("message"))
    reason = str(choice.get("finish_reason") or "stop")
    content, refusal = _text(message.get("content")), _text(message.get("refusal"))
    if reason.lower().startswith(WITHHELD):
        raise BlockedError(": ".join(filter(None, (f"finish_reason {reason}", refusal))))
    if refusal and not content:
        raise BlockedError(f"refusal: {refusal}")
    if reason == INTERRUPTED:
        raise InterruptedAnswerError(f"the provider broke off: {reason}")
    if reason.lower() not in FINISHED:
        raise RowError(f"the answer ended with {reason!r}, which is neither its end nor its length")
    reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or None
    if not content and reasoning is None and FINISHED[reason.lower()] == "stop":
        raise RowError("the provider returned an empty answer")
    return ApiAnswer(reasoning, content, FINISHED[reason.lower()])


def shared_usage(usage: Usage, texts: Sequence[str]) -> list[Usage]:
    """What falls to each of several answers of one bill: its output in proportion to their characters, none lost.

    The input, which they share, stands with each; so does not what was reasoning.
    """
    if len(texts) == 1:
        return [usage]
    characters, shares, given = sum(map(len, texts)), [], 0
    for place in range(len(texts)):
        upto = sum(map(len, texts[: place + 1]))
        until = round(usage.output_tokens * (upto / characters if characters else (place + 1) / len(texts)))
        shares.append(Usage(usage.input_tokens, until - given, None))
        given = until
    return shares


def thought_tokens(usage: Usage, response: str, tags: ThinkingTags | None) -> int | None:
    """Tokens of the thought: the provider's figure, else the generated tokens in proportion to its characters."""
    if tags is None:
        return None
    if usage.reasoning_tokens is not None:
        return usage.reasoning_tokens
    thought, close, answer = response.partition(tags.close)
    if not close and not response.startswith(tags.open):
        return 0
    return round(usage.output_tokens * len(thought) / max(1, len(thought) + len(answer)))


def read_logprobs(body: Mapping[str, Any], place: int = 0) -> tuple[Mapping[str, float], ...]:
    """Those of a `Completion`; none where they were not asked for, or the provider has none."""
    content = _mapping(_choice(body, place).get("logprobs")).get("content")
    return tuple(
        {
            str(top["token"]): float(top["logprob"])
            for top in map(_mapping, _list(_mapping(token).get("top_logprobs")))
            if "token" in top and isinstance(top.get("logprob"), int | float)
        }
        for token in _list(content)
    )


def _choice(body: Mapping[str, Any], place: int) -> Mapping[str, Any]:
    choices = _list(body.get("choices"))
    if place < len(choices) and isinstance(choices[place], dict):
        choice: Mapping[str, Any] = choices[place]
        return choice
    blocked = _mapping(body.get("prompt_feedback")) or _mapping(body.get("promptFeedback"))
    reason = blocked.get("block_reason") or blocked.get("blockReason")
    if reason:
        raise BlockedError(f"prompt blocked: {reason}")
    raise UnusableAnswerError("the answer holds no choice")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
