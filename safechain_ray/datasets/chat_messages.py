"""Chat messages in the prompt column: the user turn is the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from safechain_ray.datasets.records import BrokenText

ROLES = {
    "user": "user",
    "human": "user",
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "gpt": "assistant",
}
"""Roles of chat formats, by their meaning."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The text of the one user turn, and whether a system turn before it is left out."""

    text: object
    has_system: bool = False


def is_chat(value: object) -> TypeGuard[Sequence[Mapping[str, object]]]:
    """Whether `value` is a list of messages: role and content, or from and value."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and len(value) > 0
        and all(
            isinstance(turn, Mapping) and _role(turn) is not None and {"content", "value"} & turn.keys()
            for turn in value
        )
    )


def chat_prompt(turns: Sequence[Mapping[str, object]]) -> ChatPrompt | str:
    """The prompt of a chat with one user turn, after an optional system turn; or why the chat has no prompt."""
    roles = [_role(turn) or "" for turn in turns]
    has_system = roles[0] == "system"
    if roles[has_system:] != ["user"]:
        return (
            f"the prompt is a dialogue of {len(turns)} turns ({', '.join(roles[:6])}), and only one user turn, with or "
            "without a system turn before it, is read"
        )
    system, user = (_content(turns[0]) if has_system else ""), _content(turns[-1])
    if user is None:
        return "the user turn of the prompt holds parts that are no text"
    return ChatPrompt(user, has_system and system != "")


def _role(turn: Mapping[str, object]) -> str | None:
    role = turn.get("role", turn.get("from"))
    return ROLES.get(role.strip().casefold(), role) if isinstance(role, str) else None


def _content(turn: Mapping[str, object]) -> object | None:
    """The text of a turn, empty without one; None where it has parts of another kind."""
    content = turn.get("content", turn.get("value"))
    if content is None or isinstance(content, str | BrokenText):
        return content or ""
    if not isinstance(content, Sequence):
        return None
    texts = [_part(part) for part in content]
    return None if None in texts else "".join(map(str, texts))


def _part(part: object) -> str | None:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part
    return text if isinstance(text, str) else None
