"""Reader of stored chat messages: OpenAI's and ShareGPT's keys, content parts, JSON text.

The formats are those that TRL, LLaMA-Factory and the OpenAI API document:

- `role` and `content`, or ShareGPT's `from` and `value`; roles in any case, `human` and `gpt` too;
- `developer` is OpenAI's newer name of the system role;
- content as text, or as a list of parts; only text and thinking parts can be trained on;
- the thought of an assistant turn in a separate key (`reasoning_content`, `thinking`, `reasoning`, `thought`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""By lower case: OpenAI's roles, ShareGPT's, and Gemini's `model`."""

ROLE_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value")
THOUGHT_KEYS = ("reasoning_content", "thinking", "reasoning", "thought")
CALL_KEYS = ("tool_calls", "function_call")


class RowError(ValueError):
    """Why a row can't be learnt from. The same fault has the same text, so that rows can be counted by reason."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; `thought` comes from a separate key or part."""

    role: Literal["system", "user", "assistant"]
    text: str
    thought: str | None = None


def turns_of(value: object) -> list[Turn]:
    """The messages of a list, or of a list written as JSON text.

    Raises:
        RowError: no list of messages, an unknown role, content that is no text, or a call of a tool.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RowError("the conversation is text that is not JSON") from error
    if not is_messages(value):
        raise RowError("the conversation is no list of messages")
    return [_turn(message) for message in value]  # type: ignore[attr-defined]


def is_messages(value: object) -> bool:
    """Whether `value` is a list of objects, as messages are."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        return False
    return all(isinstance(message, Mapping) for message in value)


def _turn(message: Mapping[str, object]) -> Turn:
    role = next((message[key] for key in ROLE_KEYS if message.get(key) is not None), None)
    content = next((message[key] for key in CONTENT_KEYS if message.get(key) is not None), None)
    if role is None or not any(key in message for key in CONTENT_KEYS):
        raise RowError("the conversation holds a message without role and content (or from and value)")
    known = ROLES.get(str(role).strip().lower())
    if known is None:
        raise RowError(f"the conversation holds a turn of role {str(role)[:40]!r}, which can't be learnt")
    if any(message.get(key) for key in CALL_KEYS):
        raise RowError(f"the {known} turn calls a tool, which can't be learnt")
    text, thoughts = _parts(content, known)
    thoughts += [_text(message[key], "thought") for key in THOUGHT_KEYS if message.get(key)]
    thoughts = list(dict.fromkeys(thought for thought in thoughts if thought.strip()))
    if len(thoughts) > 1:
        raise RowError(f"the {known} turn holds two different thoughts")
    if thoughts and known != "assistant":
        raise RowError(f"the {known} turn holds a thought")
    return Turn(known, text, thoughts[0] if thoughts else None)


def _parts(content: object, role: str) -> tuple[str, list[str]]:
    """Text and thoughts of a message's content."""
    if content is None or isinstance(content, str):
        return content or "", []
    if not isinstance(content, Sequence):
        raise RowError(f"the {role} turn is no text but a value of type {type(content).__name__}")
    texts, thoughts = [], []
    for part in content:
        kind = part.get("type") or "text" if isinstance(part, Mapping) else "text"
        body = part if isinstance(part, str) else part.get(str(kind)) if isinstance(part, Mapping) else None
        if kind == "text":
            texts.append(_text(body, f"{role} turn"))
        elif kind in THOUGHT_KEYS:
            thoughts.append(_text(body, "thought"))
        else:
            raise RowError(f"the {role} turn holds a part of type {str(kind)[:40]!r}, and only text can be learnt")
    return "".join(texts), thoughts


def _text(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"the {kind} is no text but a value of type {type(value).__name__}")
    return value
