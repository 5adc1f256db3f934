"""Load a training set: every row a demonstration; bad rows are refused together, or left out and counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from safechain_ray.catalog.training_entries import TrainingSetEntry
from safechain_ray.datasets.demonstrations import BadRow, demonstrations_of
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, check_rows, read_records
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.schema import Demonstration, short_hash


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Demonstrations in the order of their rows, and why others were left out, with how many rows each.

    `source` says in words where they come from, without secrets.
    """

    name: str
    source: str
    demonstrations: tuple[Demonstration, ...]
    left_out: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        """A hash of what is learnt, in its order; rows' numbers and provenance don't count."""
        return short_hash(*(short_hash(d.system, d.prompt, d.thought, d.answer) for d in self.demonstrations))


def load_training_set(entry: TrainingSetEntry, on_bad_row: Literal["refuse", "skip"] = "refuse") -> TrainingSet:
    """The demonstrations of `entry`.

    Raises InputError for a set that can't be read, misses a column, has another number of rows than `entry.rows`, or
    holds no good row; and, unless they are skipped, for bad rows, with their numbers.
    """
    records = read_records(entry)
    for field, column in entry.columns.items():
        records.check_column(column, f"Name the right one with {field}.")
    check_rows(entry, records)
    found = list(demonstrations_of(entry, records))
    good = tuple(each for each in found if isinstance(each, Demonstration))
    bad = [each for each in found if isinstance(each, BadRow)]
    if bad and (on_bad_row == "refuse" or not good):
        raise InputError(_refusal(records, bad))
    return TrainingSet(entry.name, records.source, good, dict(Counter(each.problem for each in bad).most_common()))


def _refusal(records: Records, bad: Sequence[BadRow]) -> str:
    shown = "".join(f"\n  row {each.row}: {each.problem}" for each in bad[:SHOWN_PROBLEMS])
    more = f"\n  and {len(bad) - SHOWN_PROBLEMS:,} more" if len(bad) > SHOWN_PROBLEMS else ""
    if len(bad) == len(records.rows):
        return (
            f"No row of {records.source} can be learnt from:{shown}{more}\n"
            "Check which columns hold what, and has_thoughts: it is false for a set of answers without thoughts."
        )
    return (
        f"{records.source} has {len(bad):,} rows of {len(records.rows):,} that can't be learnt from:{shown}{more}\n"
        "Mend the rows, or leave them out and have them counted: on_bad_row: skip."
    )
