"""Two responses to one prompt, and which of them a judge prefers: the record, and the Arrow schemas of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from safechain_ray.types.tables import SAMPLES_SCHEMA, arrow_array

Preferred = Literal["a", "b", "tie"]
"""What one look at both responses came to; `tie`: neither is better."""

PreferenceOutcome = Literal["win", "tie", "lose", "error"]
"""How the response of run A fared against that of run B; `error`: the judge could not decide."""


@dataclass(frozen=True, slots=True)
class Preference:
    """A judge's decision between the responses of two runs, A and B, to one prompt.

    `a_first` and `b_first` are what it preferred with that response shown first. A win or a loss is what both orders
    agree on; where they don't it is a tie. `score` in [0, 1] is how much it prefers A (1/2: not at all), None where the
    judge's engine gives no log-probabilities. `error` says why the outcome is one, `note` what the judge did not see.
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
"""Pairs on their way to a judge: the columns of A's sample, which sample of B it is held against, and both texts."""

PREFERENCES_SCHEMA = pa.schema(
    [
        *_PAIR,
        pa.field("judge", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("a_first", pa.string()),
        pa.field("b_first", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("note", pa.string()),
    ]
)
"""The columns of `preferences/*.parquet`, one row a pair. The texts stand in the runs, by `sample_id` in A's."""


def preferences_table(pairs: pa.Table, preferences: Sequence[Preference]) -> pa.Table:
    """What was decided of each row of `pairs` (of `PAIRS_SCHEMA`), as a table of `PREFERENCES_SCHEMA`."""
    decided = PREFERENCES_SCHEMA.names[len(_PAIR) :]
    columns = {
        name: arrow_array(
            [getattr(preference, name) for preference in preferences], PREFERENCES_SCHEMA.field(name).type
        )
        for name in decided
    }
    return pa.table({**{field.name: pairs[field.name] for field in _PAIR}, **columns}, schema=PREFERENCES_SCHEMA)
