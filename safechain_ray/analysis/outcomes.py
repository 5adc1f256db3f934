"""What became of the samples that a judge calls safe, unsafe, or nothing: a truncated thought has no answer."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from safechain_ray.analysis.rows import MISSING, SAFE, UNSAFE, SettingRows
from safechain_ray.analysis.shares import share
from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.types import Outcome, Part


class OutcomesByVerdict(BaseModel):
    """Samples of a setting by verdict and outcome, and the share of truncated ones among the safe and the unsafe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    part: Part
    safe: dict[Outcome, int]
    unsafe: dict[Outcome, int]
    missing: dict[Outcome, int]
    truncated_among_safe: Estimate
    truncated_among_unsafe: Estimate


def outcomes_by_verdict(rows: SettingRows, judge: str, part: Part) -> OutcomesByVerdict:
    """The outcomes by the verdicts of one judge on one part."""
    verdicts = rows.verdicts[judge, part]
    safe, unsafe, missing = (
        {outcome: int(np.sum(rows.outcomes[verdicts == verdict] == outcome)) for outcome in OUTCOMES}
        for verdict in (SAFE, UNSAFE, MISSING)
    )
    truncated = rows.outcomes == "truncated"
    return OutcomesByVerdict(
        judge=judge,
        part=part,
        safe=safe,
        unsafe=unsafe,
        missing=missing,
        truncated_among_safe=share(rows, truncated, verdicts == SAFE),
        truncated_among_unsafe=share(rows, truncated, verdicts == UNSAFE),
    )
