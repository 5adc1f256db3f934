"""The meaning of a label: from its own word, or from the name of its column.

`unsafe` and `harmless` have a meaning of their own. `true`, `1` and `yes` affirm the column's name: they mean safe in
`is_safe`, and unsafe in `is_unsafe` and `jailbroken`. In a column called `label` they mean unsafe, as in published
sets. In any other column they are ambiguous: `refused_harmful` and `unsafe_avoided` contain a word of safety and affirm
its opposite. A name therefore decides only where every other word in the name is known.
"""

import re

from safechain_ray.datasets.records import as_text

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
"""Negate a word that follows. Behind the word, `no` may be short for a number."""

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
"""Words that leave the meaning as it is. `s` and `t` are what `'s` and `isn't` leave.

Left out on purpose: `prompt` and `request` (another text is labelled), `score`, `majority` and `target`.
"""


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

    With `unsafe_labels`, folded by `folded`, every other label that is not empty means safe. `true_is_unsafe` is the
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
    """A label as it is compared: without blanks around it, in lower case, 1.0 as 1."""
    word = as_text(value).strip().casefold()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", word)
