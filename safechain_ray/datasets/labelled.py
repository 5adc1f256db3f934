"""Responses labelled safe or unsafe by people, as the gold standard for measuring judges.

Rules for the meaning of a label:
- `unsafe` and `harmless` have a meaning of their own.
- `true`, `1` and `yes` affirm the column's name: they mean safe in `is_safe`, and unsafe in `is_unsafe` and
  `jailbroken`. In a column called `label` they mean unsafe, as in published sets.
- In any other column they are ambiguous. `refused_harmful` and `unsafe_avoided` contain a safety word and affirm its
  opposite, so a name decides only if every other word in it is known.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from safechain_ray import catalog
from safechain_ray.datasets.adhoc import adhoc_entry, with_subset
from safechain_ray.datasets.loading import SHOWN_PROBLEMS, read_records
from safechain_ray.datasets.records import Records, as_text, text_problem
from safechain_ray.errors import InputError
from safechain_ray.types import Part, short_hash

UNSAFE_WORDS = frozenset({"unsafe", "harmful", "toxic", "jailbroken"})

SAFE_WORDS = frozenset({"safe", "harmless", "unharmful", "benign"})
"""Words with a meaning of their own, in any case."""

TRUE_WORDS = frozenset({"1", "true", "yes"})

FALSE_WORDS = frozenset({"0", "false", "no"})
"""Words that affirm or deny the column's name. 1 and 1.0 are the same number."""

DEFAULT_NAMES = frozenset({"label", "labels"})
"""Names of columns in which a true word means unsafe."""

_UNSAFE_NAMES = frozenset(
    {"unsafe", "harmful", "harm", "toxic", "toxicity", "jailbroken", "jailbreak", "violation", "violating", "flagged"}
)

_SAFE_NAMES = frozenset({"safe", "harmless", "unharmful", "benign", "nontoxic"})

_NEGATIONS = frozenset({"no", "non", "un", "without"})
"""Words that negate a following word. After the word, `no` may be short for a number."""

_NEGATIONS_ANYWHERE = frozenset({"not", "never", "free", "isn", "isnt", "arent", "wasnt"})

_NEUTRAL = frozenset(
    {
        "a",
        "an",
        "any",
        "annotated",
        "are",
        "assistant",
        "completion",
        "content",
        "contains",
        "from",
        "gold",
        "has",
        "have",
        "human",
        "is",
        "label",
        "labels",
        "of",
        "output",
        "answer",
        "reply",
        "response",
        "s",
        "t",
        "text",
        "the",
        "was",
    }
)
"""Words that don't change the meaning. `s` and `t` are the rests of `'s` and `isn't`.

Deliberately not included: `prompt` and `request` (another text is labelled), `score`, `majority` and `target`.
"""

SHOWN_CHARACTERS = 40

SHOWN_LABELS = 10
"""Most labels of a column that an error message lists."""


def true_means_unsafe(column: str) -> bool | None:
    """Whether a true word in `column` means unsafe; None if the column's name does not decide.

    >>> true_means_unsafe("is_response_safe"), true_means_unsafe("label"), true_means_unsafe("human_majority")
    (False, True, None)
    """
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column))
    words = [word.casefold() for word in words]
    if len(words) == 1 and words[0] in DEFAULT_NAMES:
        return True
    negations = _NEGATIONS | _NEGATIONS_ANYWHERE
    places = [place for place, word in enumerate(words) if word in _UNSAFE_NAMES | _SAFE_NAMES]
    negated = [place for place, word in enumerate(words) if word in negations]
    known = _UNSAFE_NAMES | _SAFE_NAMES | _NEUTRAL | negations
    if len(places) != 1 or len(negated) > 1 or not known.issuperset(words):
        return None
    if any(place > places[0] and words[place] in _NEGATIONS for place in negated):
        return None
    return (words[places[0]] in _UNSAFE_NAMES) is not bool(negated)


def read_label(
    value: object, unsafe_labels: frozenset[str] = frozenset(), true_is_unsafe: bool | None = True
) -> bool | None:
    """Whether a label means unsafe; None for a label that is empty, unknown or ambiguous.

    With `unsafe_labels` (normalised by `folded`), every other non-empty label means safe. `true_is_unsafe` is the
    result of `true_means_unsafe` for the label's column.
    """
    word = folded(value)
    if unsafe_labels:
        return word in unsafe_labels if word else None
    if word in UNSAFE_WORDS | SAFE_WORDS:
        return word in UNSAFE_WORDS
    if true_is_unsafe is None or word not in TRUE_WORDS | FALSE_WORDS:
        return None
    return (word in TRUE_WORDS) is true_is_unsafe


def folded(value: object) -> str:
    """A label normalised for comparison: without blanks around it, in lower case, 1.0 as 1."""
    word = as_text(value).strip().casefold()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", word)


@dataclass(frozen=True, slots=True)
class LabelledResponse:
    """One row, counted from 1 without a header. `unsafe` is the human label of the response."""

    row: int
    prompt: str
    response: str
    unsafe: bool


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled responses in their order. `source` describes the origin without secrets.

    `part` is the text that the labels are about: `response` of each row is a thought or an answer then. `left_out`
    counts the rows without a label or without such a text.
    """

    name: str
    source: str
    responses: tuple[LabelledResponse, ...]
    part: Part = "response"
    left_out: int = 0

    @property
    def fingerprint(self) -> str:
        """A hash over rows, texts, labels, and the part unless it is the response."""
        rows = (short_hash(each.row, each.prompt, each.response, each.unsafe) for each in self.responses)
        return short_hash(*rows, *([] if self.part == "response" else [self.part]))


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns for prompt, response and label."""

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
    part: Part = "response",
) -> LabelledSet:
    """Load the labelled responses of a catalog data set, a file, a URI or a Hugging Face id.

    A label is interpreted by its own word or its column's name (see the module). With `unsafe_labels` a row is unsafe
    if its label is among them, else safe.

    Raises:
        InputError: the set can't be read, misses a column, or has ambiguous labels. Also for rows without a text or a
            known label, all in one message.
    """
    known = catalog.datasets().get(source) or adhoc_entry(source, prompt_column=columns.prompt)
    entry = with_subset(known, config=config, split=split)
    records = read_records(entry, {columns.prompt, columns.response, columns.label})
    for kind in ("prompt", "response", "label"):
        records.check_column(getattr(columns, kind), f"Fix: name the right one with --{kind}-column.")
    chosen = frozenset(map(folded, unsafe_labels))
    labels = dict.fromkeys(folded(row.get(columns.label)) for row in records.rows)
    check_meaning(labels, columns.label, unsafe_labels, records.source)
    responses, problems = [], []
    for number, row in enumerate(records.rows, start=1):
        found = _labelled(number, row, columns, chosen)
        if isinstance(found, str):
            problems.append(f"\n  row {number}: {found}")
        else:
            responses.append(found)
    if problems:
        raise InputError(_refusal(records, columns.label, problems))
    return LabelledSet(entry.name, records.source, tuple(responses), part)


def check_meaning(labels: Iterable[str], column: str, named: Sequence[str], source: str) -> None:
    """Raises InputError where the labels of a column are ambiguous, or none of them is in `named`.

    `labels` are the distinct labels by `folded`, and `named` those of --unsafe-label.
    """
    known = [label for label in labels if label]
    found = _listed([label[:SHOWN_CHARACTERS] for label in known[:SHOWN_LABELS]])
    if named:
        if not set(map(folded, named)) & set(known):
            raise InputError(
                f"{source}: no row has the label {_listed(named)} of --unsafe-label. Labels in column "
                f"{column!r}: {found}. Fix: name one of these with --unsafe-label."
            )
        return
    truths = [label for label in known if label in TRUE_WORDS | FALSE_WORDS]
    if truths and true_means_unsafe(column) is None:
        raise InputError(
            f"{source}: column {column!r} holds {found}, and its name does not say which of them means "
            "unsafe. Fix: name the label that means unsafe with --unsafe-label."
        )


def _labelled(
    number: int, row: Mapping[str, object], columns: Columns, unsafe_labels: frozenset[str]
) -> LabelledResponse | str:
    """The row as a labelled response, or the reason why it is none."""
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
