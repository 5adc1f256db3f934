"""Loader of prompt sets: reads rows, converts them to prompts, then shuffles and limits the prompts.

Every prompt gets a unique id. Of chat messages the one user turn is the prompt. An unusable row becomes a prompt with
an error. Columns and the row count are validated against the catalog.
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeGuard

from safechain_ray import catalog
from safechain_ray.catalog.row_entries import DatasetEntry, RowsEntry
from safechain_ray.datasets.files import read_file, read_package_file
from safechain_ray.datasets.hub import local_copy, read_hub
from safechain_ray.datasets.records import BrokenText, Records, as_text, column_names, text_problem
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.likely_keys import name_for_message
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

SHOWN_PROBLEMS = 5
"""Most bad rows that an error lists."""

COLUMN_FLAGS = {
    field: f"--{field.replace('_', '-')} ({field} in a config file)"
    for field in ("prompt_column", "id_column", "category_column")
}
"""The flag for the column of each field of an entry."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a data set, with unique ids. `source` describes their origin without secrets.

    `fingerprint` is a hash of ids, texts and categories. It does not depend on the order of the prompts or on their
    origin.
    """

    name: str
    prompts: tuple[Prompt, ...]
    source: str
    fingerprint: str
    columns: tuple[str, ...] = field(default=(), compare=False)
    """All columns of the set, for messages."""
    categories: frozenset[str] = field(default=frozenset(), compare=False)
    """Categories of all prompts of the set, also of those that `limit` left out."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The text of the one user turn, and whether a system turn before it was dropped."""

    text: object
    has_system: bool = False


def load_prompts(
    entry: DatasetEntry,
    *,
    limit: int | None = None,
    shuffle_seed: int | None = None,
    on_bad_prompt: Literal["error_row", "refuse"] = "error_row",
    flags: Mapping[str, str] = COLUMN_FLAGS,
) -> PromptSet:
    """Load the prompts of `entry`: shuffled if there is a seed, then the first `limit`.

    A row that can't be a prompt (empty, no text, a repeated id) becomes a prompt with an error, or with `refuse` an
    InputError. `flags` are the names of the column flags for messages.

    Raises:
        InputError: the set can't be read, misses a column, is empty, has another number of rows than `entry.rows`, or
            has no good row among the chosen ones.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} is too small. Fix: give 1 or more prompts.")
    records = read_records(entry, {*entry.prompt_columns.values(), *(getattr(entry, field) for field in COLUMN_FLAGS)})
    _check_columns(entry, records, flags)
    check_rows(entry, records)
    prompts = list(prompts_of(entry, records))
    if on_bad_prompt == "refuse":
        _check_prompts(entry, prompts)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(prompts)
    chosen = tuple(prompts[:limit])
    if all(prompt.error is not None for prompt in chosen):
        raise InputError(
            f"No row of {records.source} can be a prompt:{_listed([str(prompt.error) for prompt in chosen])}\n"
            f"Fix: correct the rows, or name the column that holds the prompts with {flags['prompt_column']}."
        )
    left_out = system_turns(entry, records)
    source = f"{records.source}, without the system turns of {left_out:,} rows" if left_out else records.source
    categories = frozenset(prompt.category for prompt in prompts)
    return PromptSet(entry.name, chosen, source, fingerprint(chosen), records.columns, categories)


def refuse_category(category: str, known: Iterable[str], unread: Mapping[str, Sequence[str]], of: str = "") -> None:
    """Raises InputError for a benign category that no prompt has.

    `known` are the categories of sets with a category column. `unread` has the columns of each other set: there every
    prompt has the category `all`, which is no suggestion for a misspelt name. `of` is the catalog entry that names the
    category, with file and line; empty for a flag or a config.
    """
    names = set(known)
    if category in names or (unread and category == NO_CATEGORIES):
        return
    if names or not unread:
        raise UnknownNameError(f"benign category{of and f' of {of}'}", category, names)
    columns = column_names(tuple(dict.fromkeys(column for each in unread.values() for column in each)))
    key = "category_column of the entry" if of else COLUMN_FLAGS["category_column"]
    raise InputError(
        f"Benign category {name_for_message(category)!r}{of and f' of {of}'}: {', '.join(unread)} is read without "
        f"categories. Fix: name the column with {key}, or leave the category out; "
        f"the columns are {columns}."
    )


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """A hash of the prompts' content. Their order and the wording of their errors are ignored."""
    each = (short_hash(p.prompt_id, p.text, p.category, p.error is not None) for p in prompts)
    return short_hash(*sorted(each))


def read_records(entry: RowsEntry, wanted: Collection[str] | None = None) -> Records:
    """The raw rows of `entry`, with only the `wanted` columns if given. Raises InputError."""
    catalog.check_path(entry, "source")
    if entry.kind == "huggingface":
        return read_hub(entry, wanted)
    if entry.kind == "package":
        return read_package_file(entry.source, wanted)
    return read_file(entry.source, wanted, local_copy(entry))


def check_rows(entry: RowsEntry, records: Records) -> None:
    """Raises InputError if the catalog expects another number of rows."""
    if entry.rows is not None and len(records.rows) != entry.rows:
        raise InputError(
            f"{records.source} has {len(records.rows)} rows, but data set {entry.name!r} has {entry.rows}: it is "
            "another version of the set, or a part of it. Fix: to use it as it is, give it with --dataset PATH"
            f"{or_correct(entry, 'rows')}."
        )


def or_correct(entry: RowsEntry, key: str) -> str:
    """The end of a fix: a value of a user's entry may be wrong itself. Empty for other values."""
    named = catalog.named_by(entry, key)
    return "" if named is None else f", or correct {named}"


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


def _check_columns(entry: DatasetEntry, records: Records, flags: Mapping[str, str]) -> None:
    for key, flag in flags.items():
        column: str | None = getattr(entry, key)
        if column is not None:
            named = catalog.named_by(entry, key)
            records.check_column(column, f"Fix: correct {named}." if named else f"Fix: name the right one with {flag}.")
    for column in entry.prompt_columns.values():
        fix = f"Fix: give a file with this column, which contains prompts of {entry.name}"
        records.check_column(column, f"{fix}{or_correct(entry, 'prompt_columns')}.")


def _check_prompts(entry: DatasetEntry, prompts: list[Prompt]) -> None:
    errors = [prompt.error for prompt in prompts if prompt.error is not None]
    if not errors:
        return
    raise InputError(
        f"Data set {entry.name!r} has {len(errors)} rows that can't be prompts:{_listed(errors)}\n"
        "Fix: correct the rows, or set on_bad_prompt: error_row, which records them as errors."
    )


def _listed(errors: Sequence[str]) -> str:
    lines = "".join(f"\n  {error}" for error in errors[:SHOWN_PROBLEMS])
    return f"{lines}\n  and {len(errors) - SHOWN_PROBLEMS:,} more" if len(errors) > SHOWN_PROBLEMS else lines
