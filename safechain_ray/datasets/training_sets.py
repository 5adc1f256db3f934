"""Loader of training sets: every row becomes demonstrations, or a bad row with its reason.

A demonstration has a prompt, a thought and an answer. Bad rows are refused in one message, or left out and counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from safechain_ray import catalog
from safechain_ray.catalog.row_entries import TrainingSetEntry
from safechain_ray.datasets.layouts import (
    HISTORY,
    NO_FAMILY,
    R1_TAGS,
    RowError,
    Turn,
    foreign_tag,
    is_messages,
    split_thought,
    turns_of,
    with_layout,
)
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, check_rows, read_records
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.types import Demonstration, Exchange, ThinkingTags, short_hash


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be a demonstration, counted from 1 without a header, and the reason."""

    row: int
    problem: str


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Demonstrations in the order of their rows, with the number of left-out rows by reason.

    `source` describes their origin without secrets. `columns` are the columns that were read, by field.
    """

    name: str
    source: str
    demonstrations: tuple[Demonstration, ...]
    left_out: Mapping[str, int]
    rows: int
    columns: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """A hash of the training texts in their order. Row numbers and provenance are ignored."""
        return short_hash(*map(_content_hash, self.demonstrations))


def load_training_set(
    entry: TrainingSetEntry,
    on_bad_row: Literal["refuse", "skip"] = "refuse",
    model_tags: ThinkingTags | None = None,
) -> TrainingSet:
    """Load the demonstrations of `entry` for a model with the thinking tags `model_tags`.

    Raises:
        InputError: the set can't be read, misses a column, allows several layouts, has another number of rows than
            `entry.rows`, or has no good row. Also for bad rows, with their numbers, unless they are skipped.
    """
    return training_set_of(entry, read_records(entry), on_bad_row, model_tags)


def training_set_of(
    entry: TrainingSetEntry,
    records: Records,
    on_bad_row: Literal["refuse", "skip"] = "refuse",
    model_tags: ThinkingTags | None = None,
) -> TrainingSet:
    """The demonstrations of rows already read. Raises what `load_training_set` raises."""
    tags = tags_of(entry, model_tags)
    entry = with_layout(entry, records)
    for field, column in entry.columns.items():
        named = catalog.named_by(entry, field)
        records.check_column(column, f"Fix: correct {named}." if named else f"Fix: name the right one with {field}.")
    check_rows(entry, records)
    found = list(demonstrations_of(entry, records, tags))
    good = tuple(each for each in found if isinstance(each, Demonstration))
    bad = [each for each in found if isinstance(each, BadRow)]
    if bad and (on_bad_row == "refuse" or not good):
        raise InputError(_refusal(records, bad))
    left_out = dict(Counter(each.problem for each in bad).most_common())
    return TrainingSet(entry.name, records.source, good, left_out, len(records.rows), entry.columns)


def tags_of(entry: TrainingSetEntry, model_tags: ThinkingTags | None = None) -> tuple[ThinkingTags, ...]:
    """The thinking tags that a set's thoughts may have: those of its family, else R1's and the trained model's.

    Raises:
        UnknownNameError: the set's family is not in the catalog.
        InputError: the family has no thinking tags.
    """
    if entry.family is None:
        return (R1_TAGS,) if model_tags is None or model_tags == R1_TAGS else (R1_TAGS, model_tags)
    tags = catalog.family_of(entry).tags
    if tags is None:
        raise InputError(
            f"training_set.family: models of family {entry.family!r} write no thinking tags. Fix: name the "
            "family whose tags the data has, or set has_thoughts: false for answers without thoughts."
        )
    return (tags,)


def demonstrations_of(
    entry: TrainingSetEntry, records: Records, tags: Sequence[ThinkingTags] = (R1_TAGS,)
) -> Iterator[Demonstration | BadRow]:
    """Yield the demonstrations of each row in order. Their thoughts may be in any of `tags`.

    A row gives one demonstration (one per assistant turn with the loss on all turns), or a BadRow.
    """
    for number, row in enumerate(records.rows, start=1):
        try:
            found = list(_Reader(entry, tuple(tags)).demonstrations(number, row))
        except RowError as error:
            yield BadRow(number, str(error))
        else:
            yield from found


@dataclass(frozen=True, slots=True)
class _Reader:
    entry: TrainingSetEntry
    tags: tuple[ThinkingTags, ...]

    def demonstrations(self, number: int, row: Mapping[str, object]) -> Iterator[Demonstration]:
        system, turns = _system_and_dialogue(self._turns(row))
        used = set(self.entry.columns.values())
        provenance = {column: value for column, value in row.items() if column not in used}
        earlier: tuple[Exchange, ...] = ()
        for index in range(0, len(turns), 2):
            prompt, reply = _filled(turns[index].text, "prompt"), turns[index + 1]
            is_last = index + 2 == len(turns)
            if is_last or self.entry.loss_on == "all":
                thought, answer = self._trained_turn(reply)
                yield Demonstration(number, prompt, thought, answer, system, provenance, earlier)
            else:
                answer = self._context(reply)
            earlier = (*earlier, Exchange(prompt, answer))

    def _turns(self, row: Mapping[str, object]) -> list[Turn]:
        """The row as a conversation, in any layout."""
        entry = self.entry
        system = _optional(row, entry.system_column, "system turn")
        before = [Turn("system", system)] if system else []
        if entry.messages_column is not None:
            return [*before, *turns_of(row.get(entry.messages_column))]
        if row.get(HISTORY):
            raise RowError(
                f"the column {HISTORY} holds earlier turns, which only chat messages can hold (use messages)"
            )
        turns = [*before, *_prompt_turns(row, entry)]
        if entry.answer_column is None:
            return [*turns, *_response_turns(row.get(entry.response_column or ""))]
        thought = _text(row.get(entry.thought_column or ""), "thought")
        return [*turns, Turn("assistant", _text(row.get(entry.answer_column), "answer"), thought)]

    def _trained_turn(self, reply: Turn) -> tuple[str | None, str]:
        """Thought and answer of a turn with loss."""
        text = _filled(reply.text, "response" if reply.thought is None else "answer")
        if not self.entry.has_thoughts:
            if reply.thought is not None:
                raise RowError(
                    "the response has a thought of its own, but has_thoughts is false (remove the thoughts, or set "
                    "has_thoughts: true)"
                )
            return None, self._untagged(text, "response")
        if reply.thought is not None:
            return self._separate_thought(reply.thought, text)
        tags = next((tags for tags in self.tags if tags.close in text or tags.open in text), self.tags[0])
        self._refuse_foreign(text, tags)
        thought, answer = _split(text, tags)
        self._refuse_foreign(answer, tags)
        return thought, answer

    def _separate_thought(self, thought: str, text: str) -> tuple[str, str]:
        """A thought in a separate key or column. The response may repeat the same thought in its tags."""
        thought = self._untagged(_filled(thought, "thought"), "thought")
        tags = next((tags for tags in self.tags if tags.close in text), None)
        if tags is None:
            return thought, self._untagged(text, "answer")
        repeated, answer = _split(text, tags)
        if repeated.strip() != thought.strip():
            raise RowError(f"the response holds a thought before {tags.close}, and another one of its own")
        return thought, self._untagged(answer, "answer")

    def _context(self, reply: Turn) -> str:
        """The answer of an earlier turn, which has no loss. Its thought may be missing or empty."""
        text = _filled(reply.text, "response")
        tags = next((tags for tags in self.tags if tags.close in text), None)
        if tags is not None:
            thought, _, answer = text.partition(tags.close)
            text = answer if not thought.replace(tags.open, "").strip() else _split(text, tags)[1]
        return self._untagged(_filled(text, "answer"), "response")

    def _untagged(self, text: str, kind: str) -> str:
        for tags in self.tags:
            if tags.open in text or tags.close in text:
                raise RowError(f"the {kind} holds {tags.open} or {tags.close}, where no tag is expected")
        self._refuse_foreign(text, None)
        return text.strip("\n")

    def _refuse_foreign(self, text: str, own: ThinkingTags | None) -> None:
        found = foreign_tag(text, own)
        if found is None:
            return
        tag, family = found
        fix = "remove the tags" if family == NO_FAMILY else f"set training_set.family: {family}"
        if not self.entry.has_thoughts and family != NO_FAMILY:
            fix = f"remove the thoughts, or set has_thoughts: true and training_set.family: {family}"
        raise RowError(f"the response holds {tag}, a thinking tag of {_family(family)} ({fix})")


def _family(name: str) -> str:
    return name if name == NO_FAMILY else f"family {name}"


def _split(text: str, tags: ThinkingTags) -> tuple[str, str]:
    try:
        return split_thought(text, tags)
    except ValueError as error:
        raise RowError(str(error)) from None


def _prompt_turns(row: Mapping[str, object], entry: TrainingSetEntry) -> list[Turn]:
    """The prompt as text or as messages, with the text of `input` appended."""
    prompt = row.get(entry.prompt_column or "")
    added = _optional(row, entry.input_column, "input")
    if is_messages(prompt):
        turns = turns_of(prompt)
        return [*turns[:-1], Turn(turns[-1].role, f"{turns[-1].text}\n{added}")] if added else turns
    text = _text(prompt, "prompt")
    return [Turn("user", f"{text}\n{added}" if added else text)]


def _response_turns(response: object) -> list[Turn]:
    return turns_of(response) if is_messages(response) else [Turn("assistant", _text(response, "response"))]


def _system_and_dialogue(turns: Sequence[Turn]) -> tuple[str | None, list[Turn]]:
    """The system turn, if there is a non-empty one, and the alternating user and assistant turns."""
    systems = [turn for turn in turns if turn.role == "system" and turn.text.strip()]
    if len({turn.text for turn in systems}) > 1:
        raise RowError("the conversation holds two different system turns")
    spoken = [turn for turn in turns if turn.role != "system"]
    if any(turn.role == "system" and turn.text.strip() for turn in turns[len(turns) - len(spoken) :]):
        raise RowError("the conversation holds a system turn after its start")
    if not spoken or spoken[-1].role != "assistant":
        raise RowError("the conversation does not end with an assistant turn")
    if [turn.role for turn in spoken] != ["user", "assistant"] * (len(spoken) // 2):
        raise RowError("the turns of user and assistant do not alternate, beginning with the user's")
    return (systems[0].text if systems else None), spoken


def _optional(row: Mapping[str, object], column: str | None, kind: str) -> str:
    """The text of a column that may be empty; "" if it is empty or no column is named."""
    value = row.get(column) if column else None
    return "" if value is None or (isinstance(value, str) and not value.strip()) else _text(value, kind)


def _text(value: object, kind: str) -> str:
    if value is not None and not isinstance(value, str):
        raise RowError(f"the {kind} is no text but a value of type {type(value).__name__}")
    return _filled(value or "", kind)


def _filled(text: str, kind: str) -> str:
    if not text.strip():
        raise RowError(f"the {kind} is empty")
    return text


def _content_hash(example: Demonstration) -> str:
    earlier = chain.from_iterable((each.prompt, each.answer) for each in example.earlier)
    return short_hash(example.system, example.prompt, example.thought, example.answer, *earlier)


def _refusal(records: Records, bad: Sequence[BadRow]) -> str:
    shown = "".join(f"\n  row {each.row}: {each.problem}" for each in bad[:SHOWN_PROBLEMS])
    more = f"\n  and {len(bad) - SHOWN_PROBLEMS:,} more" if len(bad) > SHOWN_PROBLEMS else ""
    if len(bad) == len(records.rows):
        return (
            f"No row of {records.source} can be used for training:{shown}{more}\n"
            "Fix: check the columns that were read, the family whose tags the data has (training_set.family), and "
            "has_thoughts: it is false for a set of answers without thoughts."
        )
    return (
        f"{records.source} has {len(bad):,} rows of {len(records.rows):,} that can't be used for training:"
        f"{shown}{more}\n"
        "Fix: correct the rows, or leave them out with on_bad_row: skip, which counts them."
    )
