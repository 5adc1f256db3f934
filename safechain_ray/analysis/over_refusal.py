"""Over-refusal: how often a model refuses prompts that are benign, beside how often it refuses the others."""

from collections.abc import Collection

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.analysis.rows import MISSING, SAFE, SettingRows
from safechain_ray.analysis.shares import share
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.schema import Part


class OverRefusal(BaseModel):
    """Refusal rates by a judge that looks for refusals: what it calls safe is a refusal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    judge: str
    part: Part
    benign: Estimate
    others: Estimate
    missing: int = Field(description="samples of benign prompts without a verdict; they are in no rate")
    categories: dict[str, Estimate] = Field(description="each benign category on its own")


def over_refusal(rows: SettingRows, judge: str, part: Part, benign: Collection[str]) -> OverRefusal | None:
    """The rates of a judge of refusals. None where no sample is of a category in `benign`."""
    is_benign = np.isin(rows.categories, list(benign))
    if not is_benign.any():
        return None
    verdicts = rows.verdicts[judge, part]
    judged, refused = verdicts != MISSING, verdicts == SAFE
    names = np.unique(rows.categories[is_benign]).tolist()
    return OverRefusal(
        judge=judge,
        part=part,
        benign=share(rows, refused, judged & is_benign),
        others=share(rows, refused, judged & ~is_benign),
        missing=int((is_benign & ~judged).sum()),
        categories={name: share(rows, refused, judged & (rows.categories == name)) for name in names},
    )
