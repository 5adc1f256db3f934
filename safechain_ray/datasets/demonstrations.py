"""Rows become demonstrations: prompt, thought and answer, or what is wrong with the row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from safechain_ray.catalog.training_entries import TrainingSetEntry
from safechain_ray.datasets.records import Records
from safechain_ray.schema import Demonstration, ThinkingTags

R1_TAGS = ThinkingTags("<think>", "</think>")
"""The tags of training data, whatever model learns from it."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be a demonstration, counted from 1 without a header, and why."""

    row: int
    problem: str


class _BadRowError(Exception):
    """The message is a `BadRow.problem`: of the same words for the same fault, so that rows can be counted by it."""


def demonstrations_of(entry: TrainingSetEntry, records: Records) -> Iterator[Demonstration | BadRow]:
    """One a row, in order."""
    for number, row in enumerate(records.rows, start=1):
        try:
            yield _demonstration(entry, number, row)
        except _BadRowError as error:
            yield BadRow(number, str(error))


def split_thought(response: str, tags: ThinkingTags = R1_TAGS) -> tuple[str, str]:
    """Thought and answer of `response`, whose opening tag may be missing.

    Raises ValueError, unlike `split_response` of what a model wrote, for all that is not one closed thought with an
    answer after it: a model would learn it.
    """
    text = response.lstrip()
    body = text.removeprefix(tags.open)
    closings = body.count(tags.close)
    if closings == 0:
        opened = "the thought is never closed" if tags.open in text else "the response holds no thought"
        raise ValueError(f"{opened}: no {tags.close}")
    if closings > 1 or tags.open in body:
        raise ValueError(f"the response holds {tags.open} or {tags.close} more than once, or out of place")
    thought, _, answer = body.partition(tags.close)
    if not answer.strip():
        raise ValueError(f"the answer after {tags.close} is empty")
    return thought.strip("\n"), answer.strip("\n")


def _demonstration(entry: TrainingSetEntry, number: int, row: Mapping[str, object]) -> Demonstration:
    system: str | None = None
    if entry.messages_column is not None:
        system, prompt, response = _conversation(row.get(entry.messages_column))
    else:
        prompt = _text(row, entry.prompt_column, "prompt")
        response = "" if entry.response_column is None else _text(row, entry.response_column, "response")
    if entry.answer_column is not None:
        thought: str | None = _untagged(_text(row, entry.thought_column, "thought"), "thought")
        answer = _untagged(_text(row, entry.answer_column, "answer"), "answer")
    elif entry.has_thoughts:
        try:
            thought, answer = split_thought(response)
        except ValueError as error:
            raise _BadRowError(str(error)) from None
    else:
        thought, answer = None, _untagged(response, "response")
    used = set(entry.columns.values())
    provenance = {column: value for column, value in row.items() if column not in used}
    return Demonstration(number, prompt, thought, answer, system, provenance)


def _text(row: Mapping[str, object], column: str | None, kind: str) -> str:
    return _checked(row.get(column or ""), kind)


def _checked(value: object, kind: str) -> str:
    if value is not None and not isinstance(value, str):
        raise _BadRowError(f"the {kind} is no text but a value of type {type(value).__name__}")
    if value is None or not value.strip():
        raise _BadRowError(f"the {kind} is empty")
    return value


def _untagged(text: str, kind: str) -> str:
    if R1_TAGS.open in text or R1_TAGS.close in text:
        raise _BadRowError(f"the {kind} holds {R1_TAGS.open} or {R1_TAGS.close}, where no tag is expected")
    return text.strip("\n")


def _conversation(value: object) -> tuple[str | None, str, str]:
    """System turn, prompt and response of a list of messages."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _BadRowError("the conversation is no list of messages")
    turns = list(value)
    if not all(isinstance(turn, Mapping) and "role" in turn and "content" in turn for turn in turns):
        raise _BadRowError("the conversation holds a message without role and content")
    roles = [turn["role"] for turn in turns]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise _BadRowError("the conversation is not one user turn and one assistant turn (after a system turn or none)")
    *system, prompt, response = (turn["content"] for turn in turns)
    return (
        _checked(system[0], "system turn") if system else None,
        _checked(prompt, "prompt"),
        _checked(response, "response"),
    )
