"""Conversion of rows to prompts: unique ids, one user turn of chat messages, and an error for every unusable row."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from safechain_ray.catalog.entries import DatasetEntry
from safechain_ray.datasets.records import BrokenText, Records, as_text, text_problem
from safechain_ray.types import Prompt, short_hash

ROLES = {
    "user": "user",
    "human": "user",
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "gpt": "assistant",
}
"""Role names of chat formats and their meanings."""

NO_CATEGORIES = "all"
"""Category of every prompt of a set without a category column."""

UNCATEGORISED = "uncategorised"
"""Category of a prompt whose row has none."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The text of the one user turn, and whether a system turn before it was dropped."""

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
    """The prompt of a chat with one user turn after an optional system turn, or the reason why it has none."""
    roles = [_role(turn) or "" for turn in turns]
    has_system = roles[0] == "system"
    if roles[has_system:] != ["user"]:
        return (
            f"the prompt is a dialogue of {len(turns)} turns ({', '.join(roles[:6])}), and only one user turn, with or "
            "without a system turn before it, is supported"
        )
    system, user = (_content(turns[0]) if has_system else ""), _content(turns[-1])
    if user is None:
        return "the user turn of the prompt holds parts that are no text"
    return ChatPrompt(user, has_system and system != "")


def _role(turn: Mapping[str, object]) -> str | None:
    role = turn.get("role", turn.get("from"))
    return ROLES.get(role.strip().casefold(), role) if isinstance(role, str) else None


def _content(turn: Mapping[str, object]) -> object | None:
    """The text of a turn, "" without one; None for parts that are not text."""
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


def prompts_of(entry: DatasetEntry, records: Records) -> tuple[Prompt, ...]:
    """One prompt per row, in order, with unique ids.

    An id is the id column as text, or 12 hexadecimal digits of a hash of the prompt's text. It therefore does not
    change when rows are shuffled, dropped or added. A row whose prompt is empty or no text, whose id is missing, or
    which repeats the id of an earlier row becomes a prompt with an `error`. Rows are counted from 1, without a header.
    """
    values = [_prompt(entry, row) for row in records.rows]
    wanted_ids = [_wanted_id(entry, row, value) for row, value in zip(records.rows, values, strict=True)]
    first_rows = _first_rows(wanted_ids)
    taken = set(first_rows)
    suffixes: dict[str, int] = {}
    prompts = []
    for number, (row, value, wanted_id) in enumerate(zip(records.rows, values, wanted_ids, strict=True), start=1):
        repeats = first_rows.get(wanted_id, number) if wanted_id is not None else number
        problem = _problem(entry, row, value, wanted_id)
        if problem is None and repeats != number:
            what = "id" if entry.id_column else "text"
            problem = f"repeats the {what} of row {repeats}"
        if wanted_id is not None and repeats == number:
            prompt_id = wanted_id
        else:
            prompt_id = _free_id(wanted_id, number, taken, suffixes)
        taken.add(prompt_id)
        error = None if problem is None else f"{problem} (row {number} of {records.source})"
        prompts.append(Prompt(prompt_id, _text(value), _category(entry, row), error))
    return tuple(prompts)


def system_turns(entry: DatasetEntry, records: Records) -> int:
    """Number of rows with a system turn before the user turn that is their prompt."""
    found = (_chat(_raw_prompt(entry, row)) for row in records.rows)
    return sum(isinstance(each, ChatPrompt) and each.has_system for each in found)


def _wanted_id(entry: DatasetEntry, row: Mapping[str, object], prompt: object) -> str | None:
    if entry.id_column is not None:
        return as_text(row.get(entry.id_column)).strip() or None
    text = _text(prompt)
    return short_hash(text, characters=12) if text.strip() else None


def _first_rows(wanted_ids: Sequence[str | None]) -> dict[str, int]:
    """The first row with each id, counted from 1. That row gets the id unchanged."""
    first: dict[str, int] = {}
    for number, wanted_id in enumerate(wanted_ids, start=1):
        if wanted_id is not None:
            first.setdefault(wanted_id, number)
    return first


def _free_id(wanted_id: str | None, number: int, taken: Collection[str], suffixes: dict[str, int]) -> str:
    """A unique id: `ID#2` for the second row with `ID`, `row-N` for a row without an id.

    `suffixes` caches the last suffix of each id. Without it, a set of equal rows would take quadratic time.
    """
    stem = wanted_id if wanted_id is not None else f"row-{number}"
    if stem not in taken:
        return stem
    suffix = suffixes.get(stem, 1) + 1
    while f"{stem}#{suffix}" in taken:
        suffix += 1
    suffixes[stem] = suffix
    return f"{stem}#{suffix}"


def _problem(entry: DatasetEntry, row: Mapping[str, object], prompt: object, wanted_id: str | None) -> str | None:
    refusal = _chat(prompt)
    if isinstance(refusal, str):
        return refusal
    problem = text_problem(prompt, "prompt")
    if problem is not None:
        return problem
    for kind, column in (("id", entry.id_column), ("category", entry.category_column)):
        value = row.get(column) if column is not None else None
        if isinstance(value, BrokenText):
            return f"the {kind} ({column}) {value.problem}"
    if wanted_id is None:
        return f"the id ({entry.id_column}) is empty"
    return None


def _prompt(entry: DatasetEntry, row: Mapping[str, object]) -> object:
    """The prompt's text, or the row's raw value if it is no text."""
    value = _raw_prompt(entry, row)
    chat = _chat(value)
    return chat.text if isinstance(chat, ChatPrompt) else value


def _raw_prompt(entry: DatasetEntry, row: Mapping[str, object]) -> object:
    return row.get(entry.prompt_columns.get(_category(entry, row), entry.prompt_column))


def _chat(value: object) -> ChatPrompt | str | None:
    return chat_prompt(value) if is_chat(value) else None


def _category(entry: DatasetEntry, row: Mapping[str, object]) -> str:
    if entry.category_column is None:
        return NO_CATEGORIES
    return as_text(row.get(entry.category_column)).strip() or UNCATEGORISED


def _text(value: object) -> str:
    return "" if value is None else str(value)
