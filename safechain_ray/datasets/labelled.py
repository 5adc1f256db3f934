"""Responses that people have labelled safe or unsafe, read from a file or a hub, for measuring judges against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safechain_ray import catalog
from safechain_ray.datasets.adhoc import adhoc_entry, with_place
from safechain_ray.datasets.label_meaning import (
    FALSE_WORDS,
    SAFE_WORDS,
    TRUE_WORDS,
    UNSAFE_WORDS,
    folded,
    read_label,
    true_means_unsafe,
)
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, read_records
from safechain_ray.datasets.records import Records, text_problem
from safechain_ray.errors import InputError
from safechain_ray.types import short_hash

SHOWN_CHARACTERS = 40

SHOWN_LABELS = 10
"""Most labels of a column that an error message lists."""


@dataclass(frozen=True, slots=True)
class LabelledResponse:
    """One row, counted from 1 without a header; `unsafe` is what people said of the response."""

    row: int
    prompt: str
    response: str
    unsafe: bool


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled responses in their order; `source` says in words where they come from, without secrets."""

    name: str
    source: str
    responses: tuple[LabelledResponse, ...]

    @property
    def fingerprint(self) -> str:
        """A hash over rows, texts and labels."""
        return short_hash(*(short_hash(each.row, each.prompt, each.response, each.unsafe) for each in self.responses))


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what."""

    prompt: str
    response: str
    label: str


def load_labelled(
    source: str,
    columns: Columns,
    unsafe_labels: Sequence[str] = (),
    *,
    config: str | None = None,
    split: str | None = None,
) -> LabelledSet:
    """The labelled responses of a data set of the catalog, a file, a URI or a Hugging Face id.

    A label is read as in `label_meaning`, by its own word or its column's name. With `unsafe_labels` a row is unsafe
    if its label is among them, else safe. Raises InputError for what can't be read, a missing column, ambiguous labels,
    and, all at once, for rows without a text or a known label.
    """
    known = catalog.datasets().get(source) or adhoc_entry(source, prompt_column=columns.prompt)
    entry = with_place(known, config=config, split=split)
    records = read_records(entry, {columns.prompt, columns.response, columns.label})
    for kind in ("prompt", "response", "label"):
        records.check_column(getattr(columns, kind), f"Name the right one with --{kind}-column.")
    chosen = frozenset(map(folded, unsafe_labels))
    _check_meaning(records, columns.label, chosen, unsafe_labels)
    responses, problems = [], []
    for number, row in enumerate(records.rows, start=1):
        found = _labelled(number, row, columns, chosen)
        if isinstance(found, str):
            problems.append(f"\n  row {number}: {found}")
        else:
            responses.append(found)
    if problems:
        raise InputError(_refusal(records, columns.label, problems))
    return LabelledSet(entry.name, records.source, tuple(responses))


def _check_meaning(records: Records, column: str, chosen: frozenset[str], named: Sequence[str]) -> None:
    labels = dict.fromkeys(folded(row.get(column)) for row in records.rows)
    labels.pop("", None)
    found = _listed([label[:SHOWN_CHARACTERS] for label in list(labels)[:SHOWN_LABELS]])
    if chosen:
        if not chosen & labels.keys():
            raise InputError(
                f"{records.source}: no row has the label {_listed(named)} of --unsafe-label. Labels in column "
                f"{column!r}: {found}."
            )
        return
    truths = [label for label in labels if label in TRUE_WORDS | FALSE_WORDS]
    if truths and true_means_unsafe(column) is None:
        raise InputError(
            f"{records.source}: column {column!r} holds {found}, and its name does not say which of them means "
            f"unsafe. Fix: name the label that means unsafe, for example --unsafe-label {truths[0]}."
        )


def _labelled(
    number: int, row: Mapping[str, object], columns: Columns, unsafe_labels: frozenset[str]
) -> LabelledResponse | str:
    """The row as a labelled response, or what is wrong with it."""
    prompt, response = row.get(columns.prompt), row.get(columns.response)
    problem = text_problem(prompt, "prompt") or text_problem(response, "response")
    if problem is not None:
        return problem
    unsafe = read_label(row.get(columns.label), unsafe_labels, true_means_unsafe(columns.label))
    if unsafe is None:
        label = folded(row.get(columns.label))
        return f"the label {label[:SHOWN_CHARACTERS]!r} says neither safe nor unsafe" if label else "the label is empty"
    return LabelledResponse(number, str(prompt), str(response), unsafe)


def _refusal(records: Records, column: str, problems: Sequence[str]) -> str:
    more = f"\n  and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    unsafe, safe = UNSAFE_WORDS, SAFE_WORDS
    meaning = true_means_unsafe(column)
    if meaning is not None:
        unsafe, safe = (
            (unsafe | TRUE_WORDS, safe | FALSE_WORDS) if meaning else (unsafe | FALSE_WORDS, safe | TRUE_WORDS)
        )
    return (
        f"{records.source} has {len(problems)} rows that can't be used:{''.join(problems[:SHOWN_PROBLEMS])}{more}\n"
        f"Labels in {column!r} are read as unsafe ({_listed(sorted(unsafe))}) or safe ({_listed(sorted(safe))}). Fix: "
        "correct or remove these rows, or name the labels that mean unsafe with --unsafe-label VALUE; all other labels "
        "then mean safe."
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
