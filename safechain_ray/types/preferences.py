"""Pairwise preferences: a judge's decision between two responses to a prompt, and the Arrow schemas of pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from safechain_ray.types.arrow import arrow_fields
from safechain_ray.types.tables import SAMPLES_SCHEMA, record_arrays

Preferred = Literal["a", "b", "tie"]
"""The answer to one comparison; `tie`: neither response is better."""

PreferenceOutcome = Literal["win", "tie", "lose", "error"]
"""The result for the response of run A against that of run B; `error`: the judge gave no decision."""


@dataclass(frozen=True, slots=True)
class Preference:
    """A judge's decision between the responses of two runs, A and B, to one prompt.

    The judge compares each pair in both orders. `a_first` and `b_first` are its answers with A's or B's response shown
    first. Two equal answers are a win or a loss, others are a tie. `score` in [0, 1] is the preference for A (1/2: no
    preference), None if the judge's engine returns no log-probabilities. `error` is the reason of the outcome `error`.
    `note` names text that the judge did not see.
    """

    judge: str
    outcome: PreferenceOutcome
    a_first: Preferred | None = None
    b_first: Preferred | None = None
    score: float | None = None
    error: str | None = None
    note: str | None = None


_PAIR = [
    SAMPLES_SCHEMA.field("sample_id"),
    pa.field("sample_id_b", pa.string(), nullable=False),
    SAMPLES_SCHEMA.field("setting_id"),
    pa.field("setting_id_b", pa.string(), nullable=False),
    *(SAMPLES_SCHEMA.field(name) for name in ("dataset", "strategy", "prompt_id", "category", "sample_index")),
]

PAIRS_SCHEMA = pa.schema(
    [
        *_PAIR,
        SAMPLES_SCHEMA.field("prompt"),
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
    ]
)
"""The pairs that a judge compares: the columns of A's sample, the ids of B's sample, and both texts."""

PREFERENCES_SCHEMA = pa.schema([*_PAIR, *arrow_fields(Preference)])
"""The columns of `preferences/*.parquet`, one row a pair. The texts are in the runs; `sample_id` is that of run A."""


def preferences_table(pairs: pa.Table, preferences: Sequence[Preference]) -> pa.Table:
    """`pairs` (of `PAIRS_SCHEMA`) with the decision on each row, as a table of `PREFERENCES_SCHEMA`."""
    of_pairs = {field.name: pairs[field.name] for field in _PAIR}
    return pa.table({**of_pairs, **record_arrays(preferences, arrow_fields(Preference))}, schema=PREFERENCES_SCHEMA)
