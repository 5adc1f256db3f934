"""Reads a chat completion as providers write it: thought, answer, or that it was withheld or broken off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safechain_ray.engines.api_json import as_list, as_mapping, as_text, decode_json
from safechain_ray.engines.api_messages import read_message
from safechain_ray.errors import BlockedError, RowError
from safechain_ray.types import FinishReason, ThinkingTags, broken_up, read_tags, without_tags

FINISHED: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "stop_token": "stop",
    "complete": "stop",
    "finished": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "token_limit": "length",
    "time_limit": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
}
"""Finish reasons in lower case: OpenAI's, then those of Together, TGI, watsonx, Anthropic, Cohere, Mistral, Z.ai."""

WITHHELD = (
    "content_filter",
    "safety",
    "prohibited_content",
    "blocklist",
    "recitation",
    "spii",
    "refusal",
    "sensitive",
    "guardrail",
    "error_toxic",
)
"""How a finish reason begins, in lower case, that says the provider kept the answer back (Gemini's own among them)."""

OVERLOADED = "insufficient_system_resource"
"""DeepSeek's finish reason for a generation that it broke off for want of machines."""

BROKEN_OFF = frozenset({OVERLOADED, "error", "network_error", "abort", "cancelled"})
"""Finish reasons of a generation that failed: OpenRouter's, Z.ai's, vLLM's and SGLang's, watsonx'."""


LONGEST_REASON = 100
"""Characters of a finish reason that an error quotes."""


class UnusableAnswerError(Exception):
    """The body is no chat completion: the request is worth another try."""


class InterruptedAnswerError(UnusableAnswerError):
    """The provider broke the generation off because it is overloaded."""


class FailedChoiceError(UnusableAnswerError):
    """The provider reports an error in place of an answer. `error` is the error object, as in an error's body."""

    def __init__(self, text: str, error: object) -> None:
        super().__init__(text)
        self.error = error


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """`reasoning` is None where the API hands none over apart: the content may hold it between tags."""

    reasoning: str | None
    content: str
    finish_reason: FinishReason

    def response(self, tags: ThinkingTags | None, opens_thought: bool = False) -> str:
        """Thought and answer as one text, the thought between the family's tags, as a judge of an open model sees it.

        1. A thought that was cut stays open.
        2. A chat template that opens the thought leaves the opening tag out of the content: the tag is put back. Where
           the content has no closing tag either, only `opens_thought` says that the content is a thought.
        3. If the content repeats the thought of the reasoning field, it is kept once. A different thought is appended.
        4. Tags that the reasoning, or the content beside it, mentions in prose get a zero-width space. Otherwise the
           thought would end at the first closing tag in the reasoning, and the rest would be the answer.
        """
        if tags is None:
            return "\n\n".join(filter(None, (self.reasoning, self.content)))
        text = read_tags(self.content, tags)
        if self.reasoning is None:
            put_back = text.form == "unopened" or (text.form == "none" and opens_thought)
            return f"{tags.open}\n{self.content}" if put_back else self.content
        reasoning, more = without_tags(self.reasoning, tags), text.thought.strip()
        named = (tags.open, tags.close)
        thinking = broken_up("\n\n".join(filter(None, (reasoning, "" if more in reasoning else more))), named)
        thought = f"{tags.open}\n{thinking}"
        if text.form == "unclosed" or (self.finish_reason == "length" and not text.answer):
            return thought
        return f"{thought}\n{tags.close}\n\n{broken_up(text.answer.lstrip(), named)}"


def decode_body(body: bytes) -> Mapping[str, Any]:
    """The JSON object in `body`. Raises UnusableAnswerError."""
    try:
        decoded = decode_json(body)
    except ValueError as error:
        raise UnusableAnswerError(f"the answer is not JSON: {_quoted(body)}") from error
    if not isinstance(decoded, dict):
        raise UnusableAnswerError(f"the answer is no JSON object: {_quoted(body)}")
    return decoded


def _quoted(body: bytes) -> str:
    """Its beginning as text: escapes of `repr` would hide a secret between whose characters others are written."""
    return f"'{body[:80].decode(errors='replace')}'"


def first_choices(body: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    """`body` without the choices beyond the `count` that were requested: a server may send 300,000 in 1 MB."""
    choices = as_list(body.get("choices"))
    return {**body, "choices": choices[:count]} if len(choices) > count else body


def count_choices(body: Mapping[str, Any]) -> int:
    """How many answers a body holds; 1 where it holds none, of which `read_answer` says why."""
    return max(1, len(as_list(body.get("choices"))))


def read_answer(body: Mapping[str, Any], place: int = 0) -> ApiAnswer:
    """The answer of the first choice, or of the one at `place`.

    Raises BlockedError for one that was withheld, RowError for one without a text, UnusableAnswerError for a body that
    another try may fix.
    """
    choice = _choice(body, place)
    message = read_message(as_mapping(choice.get("message")))
    reason = str(choice.get("finish_reason") or "stop")
    lowered = reason[:LONGEST_REASON].lower()
    if len(reason) > LONGEST_REASON:  # a cut may leave the start of a secret, which could not be detected later
        reason = f"a finish_reason of {len(reason)} characters"
    if lowered.startswith(WITHHELD):
        raise BlockedError(": ".join(filter(None, (f"finish_reason {reason}", message.refusal))))
    if message.refusal and not message.content:
        raise BlockedError(f"refusal: {message.refusal}")
    if choice.get("error"):
        raise FailedChoiceError(f"the provider broke off: {reason}", choice["error"])
    if lowered == OVERLOADED:
        raise InterruptedAnswerError(f"the provider broke off: {reason}")
    if lowered in BROKEN_OFF:
        raise UnusableAnswerError(f"the provider broke off: {reason}")
    if lowered not in FINISHED:
        raise RowError(f"the answer ended with {reason!r}, which is neither its end nor its length")
    if not message.content and message.reasoning is None and FINISHED[lowered] == "stop":
        raise RowError("the provider returned an empty answer")
    return ApiAnswer(message.reasoning, message.content, FINISHED[lowered])


def texts(body: Mapping[str, Any]) -> list[str]:
    """All that was generated for each choice of a body, as far as the provider shows it; "" for too many parts."""
    return [_text(as_mapping(as_mapping(each).get("message"))) for each in as_list(body.get("choices"))]


def _text(message: Mapping[str, Any]) -> str:
    try:
        read = read_message(message)
    except RowError:
        return ""
    return f"{read.reasoning or ''}{read.content}"


def read_logprobs(body: Mapping[str, Any], place: int, tokens: int, tops: int) -> tuple[Mapping[str, float], ...]:
    """The `tops` most likely tokens at each of the first `tokens` positions, as requested; () where there are none."""
    content = as_mapping(_choice(body, place).get("logprobs")).get("content")
    return tuple(
        {
            as_text(top["token"]): float(top["logprob"])
            for top in map(as_mapping, as_list(as_mapping(token).get("top_logprobs"))[:tops])
            if isinstance(top.get("token"), str) and _is_logprob(top.get("logprob"))
        }
        for token in as_list(content)[:tokens]
    )


def _is_logprob(value: object) -> bool:
    """Not for NaN and integers too large for a float. Servers write -9999.0 for minus infinity."""
    return isinstance(value, int | float) and -1e9 <= value <= 1e9


def _choice(body: Mapping[str, Any], place: int) -> Mapping[str, Any]:
    choices = as_list(body.get("choices"))
    if place < len(choices) and isinstance(choices[place], dict):
        choice: Mapping[str, Any] = choices[place]
        return choice
    blocked = as_mapping(body.get("prompt_feedback")) or as_mapping(body.get("promptFeedback"))
    reason = blocked.get("block_reason") or blocked.get("blockReason")
    if reason:
        raise BlockedError(f"prompt blocked: {reason}")
    raise UnusableAnswerError("the answer holds no choice")
