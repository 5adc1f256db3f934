"""Responses that people have labelled safe or unsafe, read from a file or a hub, for measuring judges against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safechain_ray import catalog
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, read_records
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError
from safechain_ray.schema import short_hash

UNSAFE_WORDS = frozenset({"1", "1.0", "true", "yes", "unsafe", "harmful"})
SAFE_WORDS = frozenset({"0", "0.0", "false", "no", "safe", "harmless", "unharmful"})
"""How labels are commonly written; upper and lower case are alike."""

SHOWN_CHARACTERS = 40


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


def load_labelled(source: str, columns: Columns, unsafe_labels: Sequence[str] = ()) -> LabelledSet:
    """The labelled responses of a data set of the catalog, a file, a URI or a Hugging Face id.

    Labels read as in `read_label`; with `unsafe_labels` a row is unsafe if its label is among them, else safe. Raises
    InputError for what can't be read, a missing column, and, all at once, for rows without a text or a known label.
    """
    entry = catalog.datasets().get(source) or adhoc_entry(source, prompt_column=columns.prompt)
    records = read_records(entry)
    for kind in ("prompt", "response", "label"):
        records.check_column(getattr(columns, kind), f"Name the right one with --{kind}-column.")
    chosen = frozenset(map(_folded, unsafe_labels))
    responses, problems = [], []
    for number, row in enumerate(records.rows, start=1):
        found = _labelled(number, row, columns, chosen)
        if isinstance(found, str):
            problems.append(f"\n  row {number}: {found}")
        else:
            responses.append(found)
    if problems:
        raise InputError(_refusal(records, problems))
    if chosen and not any(each.unsafe for each in responses):
        raise InputError(f"{records.source}: no row has the label {_listed(unsafe_labels)} of --unsafe-label.")
    return LabelledSet(entry.name, records.source, tuple(responses))


def read_label(value: object, unsafe_labels: frozenset[str] = frozenset()) -> bool | None:
    """Whether a label says unsafe; None for one that is neither of `UNSAFE_WORDS` nor of `SAFE_WORDS`.

    With `unsafe_labels`, folded to lower case, every other label that is not empty says safe.
    """
    word = _folded(value)
    if unsafe_labels:
        return word in unsafe_labels if word else None
    return True if word in UNSAFE_WORDS else False if word in SAFE_WORDS else None


def _labelled(
    number: int, row: Mapping[str, object], columns: Columns, unsafe_labels: frozenset[str]
) -> LabelledResponse | str:
    """The row as a labelled response, or what is wrong with it."""
    texts = []
    for kind, column in (("prompt", columns.prompt), ("response", columns.response)):
        value = row.get(column)
        if value is not None and not isinstance(value, str):
            return f"the {kind} is no text but a value of type {type(value).__name__}"
        if value is None or not value.strip():
            return f"the {kind} is empty"
        texts.append(value)
    unsafe = read_label(row.get(columns.label), unsafe_labels)
    if unsafe is None:
        label = _folded(row.get(columns.label))
        return f"the label {label[:SHOWN_CHARACTERS]!r} says neither safe nor unsafe" if label else "the label is empty"
    return LabelledResponse(number, texts[0], texts[1], unsafe)


def _folded(value: object) -> str:
    return "" if value is None else str(value).strip().casefold()


def _refusal(records: Records, problems: Sequence[str]) -> str:
    more = f"\n  and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    return (
        f"{records.source} has {len(problems)} rows that can't be used:{''.join(problems[:SHOWN_PROBLEMS])}{more}\n"
        f"Labels are read as unsafe ({_listed(sorted(UNSAFE_WORDS))}) or safe ({_listed(sorted(SAFE_WORDS))}); other "
        "ones are named with --unsafe-label VALUE, all the rest being safe then. Mend the rows, or take them out."
    )


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
