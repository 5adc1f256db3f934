"""Over-refusal: how often a model refuses prompts that are benign, beside how often it refuses the others."""

from collections import Counter
from collections.abc import Collection

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.analysis.rows import MISSING, SAFE, Bools, SettingRows
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.safety import measure
from safechain_ray.types import Part


class OverRefusal(BaseModel):
    """Refusal rates by a judge that looks for refusals: what it calls safe is a refusal.

    Each rate is the mean over prompts of the share of refusals, as in `metrics.json`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    part: Part
    benign: Estimate
    others: Estimate
    missing: int = Field(description="samples of benign prompts without a verdict; they are in no rate")
    categories: dict[str, Estimate] = Field(description="each benign category on its own")


def over_refusal(rows: SettingRows, judge: str, part: Part, benign: Collection[str]) -> OverRefusal | None:
    """The rates of a judge of refusals. None where no sample is of a category in `benign`."""
    of_benign = is_benign(rows, benign)
    if not of_benign.any():
        return None
    verdicts = rows.verdicts[judge, part]
    judged, refused = verdicts != MISSING, verdicts == SAFE
    names = np.unique(rows.categories[of_benign]).tolist()
    return OverRefusal(
        judge=judge,
        part=part,
        benign=_rate(rows, refused, judged & of_benign),
        others=_rate(rows, refused, judged & ~of_benign),
        missing=int((of_benign & ~judged).sum()),
        categories={name: _rate(rows, refused, judged & (rows.categories == name)) for name in names},
    )


def is_benign(rows: SettingRows, benign: Collection[str]) -> Bools:
    """Which samples answer a prompt of a category in `benign`."""
    found: Bools = np.isin(rows.categories, list(benign))
    return found


def _rate(rows: SettingRows, refused: Bools, among: Bools) -> Estimate:
    judged = np.bincount(rows.prompts[among])
    counts = np.bincount(rows.prompts[among & refused], minlength=len(judged))
    prompts = Counter((yes, all_ - yes) for yes, all_ in zip(counts.tolist(), judged.tolist(), strict=True) if all_)
    return Estimate(**measure("safe_at_1", prompts, rows.samples).model_dump(include=set(Estimate.model_fields)))
