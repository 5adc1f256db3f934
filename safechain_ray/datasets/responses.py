"""Responses that exist already: the columns of a file, and its rows as prompts with one or more responses.

- A row has a prompt and a response, or a list of responses, or a chat whose last turn is the response.
- A thought is in the response between the tags of a family, in a column of its own, or in a key of the last turn.
- Labels of people say whether a response is unsafe, by the rules of `labelled.py`.

A row that can't be read keeps its place, with the reason. No row is dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from safechain_ray import catalog
from safechain_ray.catalog.row_entries import ResponsesEntry
from safechain_ray.datasets.labelled import folded, read_label, true_means_unsafe
from safechain_ray.datasets.layouts import CANDIDATES, RowError, Turn, turns_of
from safechain_ray.datasets.loading import NO_CATEGORIES, UNCATEGORISED
from safechain_ray.datasets.records import BrokenText, Records, as_text, column_names, text_problem
from safechain_ray.errors import InputError

NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": (*CANDIDATES["prompt_column"], "goal", "behavior"),
    "response": (*CANDIDATES["response_column"], "generation", "responses", "completions", "outputs", "generations"),
    "thought": CANDIDATES["thought_column"],
    "messages": CANDIDATES["messages_column"],
}
"""Common column names in lower case, for columns that no flag names."""

LABEL_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class ResponseColumns:
    """Names of the columns. None: the set has none. `messages` replaces `prompt`, `response` and `thought`."""

    prompt: str | None = None
    response: str | None = None
    thought: str | None = None
    messages: str | None = None
    id: str | None = None
    category: str | None = None
    label: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """The columns to read, by their field."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: column for name, column in found.items() if column is not None}


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response. `thought` is a thought that was stored apart. `problem` is the reason why there is no response.

    `label` is the label as `folded`, and `unsafe` its meaning; None without a label, `label_problem` then says why.
    """

    text: str
    thought: str | None = None
    problem: str | None = None
    label: str = ""
    unsafe: bool | None = None
    label_problem: str | None = None


@dataclass(frozen=True, slots=True)
class RowResponses:
    """One row, with one response or more.

    `prompt_id` is None without an id column. `problem` is the reason why there is no prompt.
    """

    prompt: str
    prompt_id: str | None
    category: str
    responses: tuple[StoredResponse, ...]
    problem: str | None = None


def find_columns(
    columns: Sequence[str], given: ResponseColumns, source: str, entry: ResponsesEntry | None = None
) -> ResponseColumns:
    """`given`, with common names for the prompt, the response, the thought or the chat that no flag names.

    A set of thoughts alone has no response column; its thought column is given. `entry` is the set's of the catalog.

    Raises:
        InputError: A given column does not exist. There is no common name, or there are several.
    """
    records = Records(tuple(columns), (), source)
    for kind, column in given.named.items():
        is_of_entry = entry is not None and getattr(entry, f"{kind}_column") == column
        named = catalog.named_by(entry, f"{kind}_column") if is_of_entry else None
        fix = f"Fix: correct {named}." if named else f"Fix: name the right one with --{kind}-column."
        records.check_column(column, fix)
    found = {kind: [column for column in columns if column.lower() in names] for kind, names in NAMES.items()}
    if given.messages is not None or (given.prompt is None and given.response is None and _is_chat(found)):
        return replace(given, messages=given.messages or found["messages"][0])
    kinds = ["prompt", "response"]
    if given.thought is not None and given.response is None and not found["response"]:
        kinds.remove("response")
    if not found["response"] and found["thought"] and "response" in kinds and given.response is None:
        raise InputError(
            f"{source} has no column of responses. Its columns: {column_names(columns)}. Fix: name it with "
            f"--response-column; for thoughts alone, name theirs with --thought-column {found['thought'][0]}."
        )
    unclear = [kind for kind in kinds if getattr(given, kind) is None and len(found[kind]) != 1]
    if unclear:
        raise InputError(
            f"{source} has {' and '.join(_unclear(kind, found[kind]) for kind in unclear)}. Its columns: "
            f"{column_names(columns)}. Fix: name {'each' if len(unclear) > 1 else 'it'} with "
            f"{' and '.join(f'--{kind}-column' for kind in unclear)}."
        )
    chosen = {kind: getattr(given, kind) or found[kind][0] for kind in kinds}
    thought = given.thought or next(iter(found["thought"]), None)
    return replace(given, **chosen, thought=thought)


def _is_chat(found: Mapping[str, Sequence[str]]) -> bool:
    return len(found["messages"]) == 1 and not (found["prompt"] and found["response"])


def _unclear(kind: str, found: Sequence[str]) -> str:
    return f"several columns that may hold the {kind}s ({', '.join(found)})" if found else f"no column of {kind}s"


def read_row(row: Mapping[str, object], columns: ResponseColumns, unsafe_labels: frozenset[str]) -> RowResponses:
    """A row as a prompt with its responses. Never raises: a row that can't be read has a problem.

    Example:
        >>> read_row({"prompt": "Hi", "response": ["a", "b"]}, ResponseColumns("prompt", "response"), frozenset())
    """
    prompt, problem, responses = _from_chat(row, columns) if columns.messages else _from_columns(row, columns)
    responses = responses or [StoredResponse("", problem="the row has no response")]
    labels = _labels(row, columns, len(responses), unsafe_labels)
    prompt_id = None if columns.id is None else as_text(row.get(columns.id)).strip() or None
    if columns.id is not None and prompt_id is None:
        problem = problem or f"the id ({columns.id}) is empty"
    return RowResponses(
        prompt=str(prompt or ""),
        prompt_id=prompt_id,
        category=_category(row, columns.category),
        responses=tuple(
            replace(response, label=label, unsafe=unsafe, label_problem=why)
            for response, (label, unsafe, why) in zip(responses, labels, strict=True)
        ),
        problem=problem,
    )


def _category(row: Mapping[str, object], column: str | None) -> str:
    return NO_CATEGORIES if column is None else as_text(row.get(column)).strip() or UNCATEGORISED


Read = tuple[object, str | None, list[StoredResponse]]
"""Prompt, its problem, and the responses."""


def _from_columns(row: Mapping[str, object], columns: ResponseColumns) -> Read:
    prompt = row.get(columns.prompt or "")
    if columns.response is None:
        prompt_problem = text_problem(prompt, "prompt")
        return prompt, prompt_problem, [_only_thought(thought) for thought in _as_list(row.get(columns.thought or ""))]
    texts = _as_list(row.get(columns.response))
    thoughts = [None] * len(texts) if columns.thought is None else _as_list(row.get(columns.thought))
    if len(thoughts) != len(texts):
        problem = f"the row has {len(texts)} responses and {len(thoughts)} thoughts"
        return prompt, text_problem(prompt, "prompt"), [StoredResponse("", problem=problem) for _ in texts]
    found = [_response(text, thought) for text, thought in zip(texts, thoughts, strict=True)]
    return prompt, text_problem(prompt, "prompt"), found


def _only_thought(thought: object) -> StoredResponse:
    problem = text_problem(thought, "thought")
    return StoredResponse("", problem=problem) if problem else StoredResponse("", as_text(thought))


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _response(text: object, thought: object) -> StoredResponse:
    thought = None if thought != thought else thought  # NaN: table libraries write it for a missing text
    # A model that was cut in its thought has a thought and no answer.
    is_only_thought = isinstance(thought, str) and thought.strip() and not as_text(text).strip()
    problem = None if is_only_thought else text_problem(text, "response")
    if problem is None and thought is not None and not isinstance(thought, str):
        problem = text_problem(thought, "thought")
    if problem is not None:
        return StoredResponse(as_text(text), problem=problem)
    return StoredResponse(as_text(text), str(thought) if thought else None)


def _from_chat(row: Mapping[str, object], columns: ResponseColumns) -> Read:
    try:
        *earlier, last = turns_of(row.get(columns.messages or ""))
    except RowError as error:
        return "", str(error), [StoredResponse("", problem=str(error))]
    users = [turn for turn in earlier if turn.role != "system"]
    if last.role != "assistant" or [turn.role for turn in users] != ["user"]:
        roles = ", ".join(turn.role for turn in (*earlier, last))
        problem = f"the conversation is not one user turn with one response, but {roles}"
        return "", problem, [StoredResponse("", problem=problem)]
    return users[0].text, text_problem(users[0].text, "prompt"), [_of_turn(last)]


def _of_turn(turn: Turn) -> StoredResponse:
    return _response(turn.text, turn.thought)


def _labels(
    row: Mapping[str, object], columns: ResponseColumns, responses: int, unsafe_labels: frozenset[str]
) -> list[tuple[str, bool | None, str | None]]:
    """For each response its label, and whether it means unsafe, or why there is no such label."""
    if columns.label is None:
        return [("", None, None)] * responses
    values = _as_list(row.get(columns.label))
    if len(values) != responses:
        return [("", None, f"the row has {responses} responses and {len(values)} labels")] * responses
    return [_label(value, columns.label, unsafe_labels) for value in values]


def _label(value: object, column: str, unsafe_labels: frozenset[str]) -> tuple[str, bool | None, str | None]:
    label = "" if isinstance(value, BrokenText) else folded(value)
    unsafe = read_label(value, unsafe_labels, true_means_unsafe(column))
    if unsafe is not None:
        return label, unsafe, None
    if not label:
        return label, None, "the label is empty"
    return label, None, f"the label {label[:LABEL_CHARACTERS]!r} says neither safe nor unsafe"
