"""Changes of results since earlier versions: marks in a run's identity, and the reason that an older folder is refused.

Only the runs concerned have a mark in their identity. All other folders are resumed as before.
"""

import re
from collections.abc import Iterable, Iterator

from safechain_ray.decoding.base import STRATEGIES
from safechain_ray.types import Setting

CALL_SEEDS = "morethink_seeds"
PUBLISHED_BOS = "morethink_bos"
ALIKE_APOSTROPHES = "apostrophes alike"

READING = 2
"""Version of the rules that divide a response into thought and answer. Rows of different versions are never mixed."""

_READING_KEY = r"^(run\.|run_[ab]\.)?(model\.)?reading: "

_REASONS = {  # by a pattern of the line that has the mark
    CALL_SEEDS: (
        "The derivation of morethink's seeds has changed: earlier versions sent the same seed with every call of a "
        "sample, so that its rounds repeated each other. Now each call has its own seed."
    ),
    PUBLISHED_BOS: "morethink with compat: paper now sends BOS twice, as the published code does.",
    _READING_KEY: (
        "The rules that divide a response into thought and answer have changed: a thinking tag that a text names in "
        "prose no longer ends or opens a thought."
    ),
    ALIKE_APOSTROPHES: "refusal-match now finds a phrase with ' also where a text has ’ in its place.",
}

_FIX = (
    "Rows of both kinds are never mixed. Fix: rerun with another --output. "
    "`report` and `compare` still read the older folder."
)


def decoding_marks(settings: Iterable[Setting]) -> dict[str, str]:
    """The marks of these settings by name; empty if all are decoded as in earlier versions."""
    marks = {}
    for setting in settings:
        if setting.strategy.name != "morethink":
            continue
        if not setting.sampling.greedy:
            marks[CALL_SEEDS] = "one for each call"
        if setting.strategy.options.get("compat") == "paper":
            marks[PUBLISHED_BOS] = "twice"
    return marks


def reading_mark(settings: Iterable[Setting]) -> dict[str, int]:
    """The mark of a local model with thinking tags whose thoughts or answers are used; empty where they are as ever.

    A strategy that writes the opening tag itself gives the thoughts of earlier versions. With another strategy the
    chat template may write the opening tag, but only the replica reads the template: such runs are marked too.
    """
    free = any(entry is None or not entry.needs_tags for entry in (STRATEGIES.get(s.strategy.name) for s in settings))
    return {"reading": READING} if free else {}


def explained(differences: Iterable[str]) -> str:
    """The differences of two identities, one an indented line, and after them the reason for each mark in them."""
    lines = list(differences)
    return "\n".join([*(f"  {line}" for line in lines), *_reasons(lines)])


def _reasons(lines: list[str]) -> Iterator[str]:
    found = [reason for mark, reason in _REASONS.items() if any(re.search(mark, line) for line in lines)]
    if found:
        yield from found
        yield _FIX
