"""Parser of chat completions in the dialects of providers: thought, answer, refusal, or an error.

`ThoughtOpening` infers whether the server's chat template opens the thought, so that answers have no opening tag. A
thought that such a server cuts before the closing tag has no tag at all, and was judged as an answer. The response
alone does not show whether it is a thought. Other answers of the same server do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from safechain_ray.engines.api_wire import as_list, as_mapping, as_text, decode_json
from safechain_ray.errors import BlockedError, RowError
from safechain_ray.types import FinishReason, Message, TagForm, ThinkingTags, broken_up, read_tags, without_tags

PROBE = (Message("user", "Reply with one word: ready"),)
"""Sent once if an answer is ambiguous and no other answer has shown how the server writes thoughts."""

PROBE_TOKENS = 2048

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields of reasoning beside the content, in order of preference: DeepSeek and SGLang, OpenRouter and vLLM, Ollama, and
OpenRouter's and MiniMax' list of details."""

TEXT_FIELDS = ("text", "thinking", "reasoning", "summary", "content", "output_text")
"""Fields of a part's text. A part of Mistral's type `thinking` has a list of further parts."""

DEEPEST = 6

MOST_PARTS = 10_000
"""Parts of a message and their fields that are read. Providers send fewer than 100; 1 MB can be 300,000 empty parts."""

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
"""Beginnings, in lower case, of finish reasons of an answer that the provider withheld, Gemini's own included."""

OVERLOADED = "insufficient_system_resource"
"""DeepSeek's finish reason for a generation that it interrupted for lack of machines."""

INTERRUPTED = frozenset({OVERLOADED, "error", "network_error", "abort", "cancelled"})
"""Finish reasons of a generation that failed: OpenRouter's, Z.ai's, vLLM's and SGLang's, watsonx'."""

LONGEST_REASON = 100
"""Characters of a finish reason that an error quotes."""

_REASONING_TYPE = re.compile(r"(redacted_)?thinking|reasoning|summary", re.IGNORECASE)

PartKind = Literal["content", "reasoning", "refusal"]


@dataclass(frozen=True, slots=True)
class MessageTexts:
    """`reasoning` is None without a separate field. The content may then hold the reasoning between tags."""

    content: str
    reasoning: str | None
    refusal: str


def read_message(message: Mapping[str, Any]) -> MessageTexts:
    """The texts of an assistant's message. Fields of another form count as absent.

    Raises RowError for a message of more than `MOST_PARTS` parts, which would block the event loop.
    """
    if _has_too_many_parts([message.get(name) for name in ("content", "refusal", *REASONING_FIELDS)]):
        raise RowError(f"the answer has more than {MOST_PARTS:,} parts")
    parts = as_list(message.get("content"))
    reasoning = next(filter(None, (_joined(message.get(name), "\n\n") for name in REASONING_FIELDS)), "")
    return MessageTexts(
        content=as_text(message.get("content")) or _of_kind(parts, "content"),
        reasoning=reasoning or _of_kind(parts, "reasoning") or None,
        refusal=as_text(message.get("refusal")) or _of_kind(parts, "refusal"),
    )


def _has_too_many_parts(values: list[object]) -> bool:
    todo, seen = values, 0
    while todo and seen <= MOST_PARTS:
        value = todo.pop()
        seen += 1
        if isinstance(value, list | dict):
            todo += value.values() if isinstance(value, dict) else value
    return bool(todo)


def _of_kind(parts: list[Any], kind: PartKind) -> str:
    return "".join(_joined(part, "") for part in parts if _kind(part) == kind)


def _kind(part: object) -> PartKind:
    name = as_text(as_mapping(part).get("type"))
    if name == "refusal":
        return "refusal"
    return "reasoning" if _REASONING_TYPE.match(name) else "content"


def _joined(value: object, between: str, depth: int = 0) -> str:
    """The text of a string, a part, or a list of parts; "" without text, as for encrypted reasoning."""
    if isinstance(value, str):
        return value
    if depth > DEEPEST:
        return ""
    if isinstance(value, list):
        # The parts of one part are the pieces of one text; the items of a list of details are paragraphs.
        return between.join(filter(None, (_joined(each, "", depth + 1) for each in value)))
    part = as_mapping(value)
    fields = ("refusal", *TEXT_FIELDS) if part.get("type") == "refusal" else TEXT_FIELDS
    return next(filter(None, (_joined(part[name], "", depth + 1) for name in fields if name in part)), "")


class UnusableAnswerError(Exception):
    """The body is not a chat completion. The request can be retried."""


class NoConnectionError(UnusableAnswerError):
    """No connection was made, so the request was not sent."""


class InterruptedAnswerError(UnusableAnswerError):
    """The provider interrupted the generation because it is overloaded."""


class FailedChoiceError(UnusableAnswerError):
    """The provider reports an error in index of an answer. `error` is the error object, as in an error's body."""

    def __init__(self, text: str, error: object) -> None:
        super().__init__(text)
        self.error = error


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """`reasoning` is None without a separate field. The content may then have the reasoning between tags."""

    reasoning: str | None
    content: str
    finish_reason: FinishReason

    def response(self, tags: ThinkingTags | None, opens_thought: bool = False) -> str:
        """Thought and answer as one text, the thought between the family's tags, as a judge of an open model reads it.

        1. A thought that was cut stays open.
        2. A chat template that opens the thought leaves the opening tag out of the content: the tag is put back. Where
           the content has no closing tag either, only `opens_thought` shows that the content is a thought.
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
        mentioned = (tags.open, tags.close)
        thinking = broken_up("\n\n".join(filter(None, (reasoning, "" if more in reasoning else more))), mentioned)
        thought = f"{tags.open}\n{thinking}"
        if text.form == "unclosed" or (self.finish_reason == "length" and not text.answer):
            return thought
        return f"{thought}\n{tags.close}\n\n{broken_up(text.answer.lstrip(), mentioned)}"


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
    """The beginning of a body as text. Escapes of `repr` would hide a secret from the filter for secrets."""
    return f"'{body[:80].decode(errors='replace')}'"


def first_choices(body: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    """`body` without the choices beyond the `count` that were requested: a server may send 300,000 in 1 MB."""
    choices = as_list(body.get("choices"))
    return {**body, "choices": choices[:count]} if len(choices) > count else body


def count_choices(body: Mapping[str, Any]) -> int:
    """The number of answers of a body; 1 where there is none, as `read_answer` then raises the reason."""
    return max(1, len(as_list(body.get("choices"))))


def read_answer(body: Mapping[str, Any], index: int = 0) -> ApiAnswer:
    """The answer of choice number `index`.

    Raises:
        BlockedError: The provider withheld the answer.
        RowError: The answer has no text.
        UnusableAnswerError: A retry may give an answer.
    """
    choice = _choice(body, index)
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
        raise FailedChoiceError(f"the provider interrupted the answer: {reason}", choice["error"])
    if lowered == OVERLOADED:
        raise InterruptedAnswerError(f"the provider interrupted the answer: {reason}")
    if lowered in INTERRUPTED:
        raise UnusableAnswerError(f"the provider interrupted the answer: {reason}")
    if lowered not in FINISHED:
        raise RowError(f"the answer ended with {reason!r}, which is no known finish reason")
    if not message.content and message.reasoning is None and FINISHED[lowered] == "stop":
        raise RowError("the provider returned an empty answer")
    return ApiAnswer(message.reasoning, message.content, FINISHED[lowered])


def texts(body: Mapping[str, Any]) -> list[str]:
    """The generated text of each choice of a body, as far as the provider shows it; "" for too many parts."""
    return [_text(as_mapping(as_mapping(each).get("message"))) for each in as_list(body.get("choices"))]


def _text(message: Mapping[str, Any]) -> str:
    try:
        read = read_message(message)
    except RowError:
        return ""
    return f"{read.reasoning or ''}{read.content}"


def read_logprobs(body: Mapping[str, Any], index: int, tokens: int, tops: int) -> tuple[Mapping[str, float], ...]:
    """The `tops` most likely tokens at each of the first `tokens` positions, as requested; () where there are none."""
    content = as_mapping(_choice(body, index).get("logprobs")).get("content")
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


def _choice(body: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    choices = as_list(body.get("choices"))
    if index < len(choices) and isinstance(choices[index], dict):
        choice: Mapping[str, Any] = choices[index]
        return choice
    blocked = as_mapping(body.get("prompt_feedback")) or as_mapping(body.get("promptFeedback"))
    reason = blocked.get("block_reason") or blocked.get("blockReason")
    if reason:
        raise BlockedError(f"prompt blocked: {reason}")
    raise UnusableAnswerError("the answer has no choice")


class ThoughtOpening:
    """Whether a server's template opens the thought: from the config, else from the server's answers.

    - An answer that closes a thought which it never opened shows that the template opens thoughts. It outweighs others.
    - An answer that opens its thought itself, has its reasoning in a separate field, or ended by itself without any
      tag, shows that the template does not.
    - A text that names the closing tag without an opening tag may be a thought. It never shows that the template opens
      nothing: thoughts that were cut later would be judged as answers.
    """

    def __init__(self, configured: bool | None, tags: ThinkingTags | None) -> None:
        self._configured = configured
        self._seen: bool | None = None
        self._tags = tags

    @property
    def opens(self) -> bool | None:
        """Whether the template opens the thought; None while it is unknown."""
        return self._seen if self._configured is None else self._configured

    def opens_before(self, answer: ApiAnswer) -> bool:
        """Whether a text without tags is a thought.

        Evidence from other answers applies only to texts that were cut. So a complete text gives the same row at any
        time of the run.
        """
        if self._configured is not None:
            return self._configured
        return bool(self._seen) and answer.finish_reason == "length"

    def note(self, answer: ApiAnswer) -> None:
        """Learn from one answer."""
        if self._tags is None:
            return
        form = read_tags(answer.content, self._tags).form
        if answer.reasoning is None and form == "unopened":
            self._seen = True
        elif self._seen is None and self._shows_no_opening(answer, form):
            self._seen = False

    def _shows_no_opening(self, answer: ApiAnswer, form: TagForm) -> bool:
        if form in ("closed", "unclosed"):
            return True
        names_closing_tag = self._tags is not None and self._tags.close in answer.content
        return not names_closing_tag and (answer.reasoning is not None or answer.finish_reason == "stop")

    def is_ambiguous(self, answer: ApiAnswer) -> bool:
        """Whether an answer may be either a cut thought or a cut answer."""
        return (
            self._tags is not None
            and self.opens is None
            and answer.reasoning is None
            and bool(answer.content.strip())
            and read_tags(answer.content, self._tags).form == "none"
        )
