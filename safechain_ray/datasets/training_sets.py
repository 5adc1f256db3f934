"""Loader of training sets: every row becomes a demonstration; bad rows are refused, or left out and counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from safechain_ray.catalog.entries import TrainingSetEntry
from safechain_ray.datasets.demonstrations import BadRow, demonstrations_of, tags_of
from safechain_ray.datasets.layouts import with_layout
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, check_rows, read_records
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.types import Demonstration, ThinkingTags, short_hash


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


def _content_hash(example: Demonstration) -> str:
    earlier = chain.from_iterable((each.prompt, each.answer) for each in example.earlier)
    return short_hash(example.system, example.prompt, example.thought, example.answer, *earlier)


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
        records.check_column(column, f"Fix: name the right one with {field}.")
    check_rows(entry, records)
    found = list(demonstrations_of(entry, records, tags))
    good = tuple(each for each in found if isinstance(each, Demonstration))
    bad = [each for each in found if isinstance(each, BadRow)]
    if bad and (on_bad_row == "refuse" or not good):
        raise InputError(_refusal(records, bad))
    left_out = dict(Counter(each.problem for each in bad).most_common())
    return TrainingSet(entry.name, records.source, good, left_out, len(records.rows), entry.columns)


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
