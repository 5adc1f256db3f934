"""Loader of prompt sets: reads rows, validates columns and row count, then shuffles and limits the prompts."""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from safechain_ray.catalog.entries import DatasetEntry, RowsEntry
from safechain_ray.datasets.files import read_file, read_package_file
from safechain_ray.datasets.hub import read_hub
from safechain_ray.datasets.prompts import prompts_of, system_turns
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.types import Prompt, short_hash

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
        raise InputError(f"limit is {limit}; the number of prompts must be 1 or more.")
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
    return PromptSet(entry.name, chosen, source, fingerprint(chosen))


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """A hash of the prompts' content. Their order and the wording of their errors are ignored."""
    each = (short_hash(p.prompt_id, p.text, p.category, p.error is not None) for p in prompts)
    return short_hash(*sorted(each))


def read_records(entry: RowsEntry, wanted: Collection[str] | None = None) -> Records:
    """The raw rows of `entry`, with only the `wanted` columns if given. Raises InputError."""
    if entry.kind == "huggingface":
        return read_hub(entry, wanted)
    if entry.kind == "package":
        return read_package_file(entry.source, wanted)
    return read_file(entry.source, wanted)


def _check_columns(entry: DatasetEntry, records: Records, flags: Mapping[str, str]) -> None:
    for field, flag in flags.items():
        column: str | None = getattr(entry, field)
        if column is not None:
            records.check_column(column, f"Fix: name the right one with {flag}.")
    for column in entry.prompt_columns.values():
        records.check_column(column, f"It contains prompts of {entry.name}.")


def check_rows(entry: RowsEntry, records: Records) -> None:
    """Raises InputError if the catalog expects another number of rows."""
    if entry.rows is not None and len(records.rows) != entry.rows:
        raise InputError(
            f"{records.source} has {len(records.rows)} rows, but data set {entry.name!r} has {entry.rows}: it is "
            "another version of the set, or a part of it. Fix: to use it as it is, give it with --dataset PATH."
        )


def _check_prompts(entry: DatasetEntry, prompts: list[Prompt]) -> None:
    errors = [prompt.error for prompt in prompts if prompt.error is not None]
    if not errors:
        return
    raise InputError(f"Data set {entry.name!r} has {len(errors)} rows that can't be prompts:{_listed(errors)}")


def _listed(errors: Sequence[str]) -> str:
    lines = "".join(f"\n  {error}" for error in errors[:SHOWN_PROBLEMS])
    return f"{lines}\n  and {len(errors) - SHOWN_PROBLEMS:,} more" if len(errors) > SHOWN_PROBLEMS else lines
