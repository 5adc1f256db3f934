"""Typed access to JSON from providers, and the token usage of a chat completion as the provider bills it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safechain_ray.types import LARGEST_INT32, ThinkingTags, read_tags
from safechain_ray.types.thinking import well_formed_tree


def decode_json(text: bytes) -> Any:
    """The value in `text`, without halves of surrogate pairs. Raises ValueError for anything but JSON.

    JSON can escape half of a surrogate pair, which UTF-8 and Arrow cannot store: one such answer would fail its block.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    # In UTF-8, only an escape or a byte 0xED can make a surrogate. NUL bytes show that the text is UTF-16 or UTF-32.
    may_hold_surrogates = b"\\u" in text or b"\xed" in text or b"\0" in text
    return well_formed_tree(value) if may_hold_surrogates else value


def as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int | None:
    """A count of tokens, also as a float or in digits; None for anything else, and for more than a column can hold."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Not by math.isfinite: a JSON integer may be too large for a float. NaN fails every comparison.
    return int(value) if 0 <= value <= LARGEST_INT32 else None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider bills them; None without a plausible count.

    `reasoning_tokens` are among `output_tokens`.
    """

    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None = None

    @property
    def is_complete(self) -> bool:
        return self.input_tokens is not None and self.output_tokens is not None

    def filled(self, other: "Usage") -> "Usage":
        """This usage, with missing counts from `other`."""
        return Usage(
            other.input_tokens if self.input_tokens is None else self.input_tokens,
            other.output_tokens if self.output_tokens is None else self.output_tokens,
            self.reasoning_tokens,
        )


def read_usage(body: Mapping[str, Any], has_text: bool = True) -> Usage:
    """The usage of a whole body. A count of 0 for an answer that `has_text` is ignored.

    Reasoning counts as output also where the provider bills it beside the completion:

    - xAI counts it in `total_tokens` and not in `completion_tokens`, and so does Gemini, without any details;
    - reasoning that exceeds the completion can't be a part of it.

    A total above the sum of input and completion gives the output. Any other total is ignored.
    """
    usage = as_mapping(body.get("usage"))
    input_tokens = _first_count(usage, "prompt_tokens", "input_tokens")
    output_tokens = _first_count(usage, "completion_tokens", "output_tokens")
    details = as_mapping(usage.get("completion_tokens_details")) or as_mapping(usage.get("output_tokens_details"))
    reasoning = as_count(details.get("reasoning_tokens"))
    if reasoning is None:
        reasoning = as_count(usage.get("reasoning_tokens"))
    if has_text:
        input_tokens, output_tokens = input_tokens or None, output_tokens or None
    if output_tokens is None:
        return Usage(input_tokens, None)
    total = as_count(usage.get("total_tokens"))
    if total is not None and input_tokens is not None and total > input_tokens + output_tokens:
        beside = total - input_tokens - output_tokens
        reasoning = beside if reasoning is None else reasoning
    else:
        beside = reasoning if reasoning is not None and reasoning > output_tokens else 0
    return Usage(input_tokens, min(output_tokens + beside, LARGEST_INT32), reasoning)


def shared_usage(usage: Usage, texts: Sequence[str]) -> list[Usage]:
    """Split the usage of one request over its answers: the output tokens in proportion to the characters.

    Each answer has all input tokens, which the answers share. Reasoning tokens are not split.
    """
    if len(texts) == 1 or usage.output_tokens is None:
        return [usage] * len(texts)
    characters, shares, given = sum(map(len, texts)), [], 0
    for index in range(len(texts)):
        upto = sum(map(len, texts[: index + 1]))
        until = round(usage.output_tokens * (upto / characters if characters else (index + 1) / len(texts)))
        shares.append(Usage(usage.input_tokens, until - given, None))
        given = until
    return shares


def thought_tokens(
    output_tokens: int, reasoning_tokens: int | None, response: str, tags: ThinkingTags | None
) -> int | None:
    """Tokens of the thought: the provider's figure, else the generated tokens in proportion to its characters."""
    if tags is None:
        return None
    if reasoning_tokens is not None:
        return min(reasoning_tokens, output_tokens)
    text = read_tags(response, tags)
    return round(output_tokens * len(text.thought) / max(1, len(text.thought) + len(text.answer)))


def _first_count(usage: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := as_count(usage.get(name))) is not None), None)
