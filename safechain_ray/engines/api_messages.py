"""Reads the message of a chat completion: content, reasoning and refusal, in the fields that providers use."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from safechain_ray.engines.api_json import as_list, as_mapping, as_text
from safechain_ray.errors import RowError

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Reasoning beside the content, the first field with a text: DeepSeek and SGLang, OpenRouter and vLLM, Ollama, and
OpenRouter's and MiniMax' list of details."""

TEXT_FIELDS = ("text", "thinking", "reasoning", "summary", "content", "output_text")
"""Where a part of a list has its text. A part of Mistral's type `thinking` holds a list of further parts."""

DEEPEST = 6

MOST_PARTS = 10_000
"""Parts of a message and their fields that are read. Providers send fewer than 100; 1 MB holds 300,000 empty parts."""

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
    apart = next(filter(None, (_joined(message.get(name), "\n\n") for name in REASONING_FIELDS)), "")
    return MessageTexts(
        content=as_text(message.get("content")) or _of_kind(parts, "content"),
        reasoning=apart or _of_kind(parts, "reasoning") or None,
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
    """The text in a string, a part, or a list of parts; "" for what holds none, encrypted reasoning among it."""
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
