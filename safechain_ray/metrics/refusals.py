"""Over-refusal: how often benign prompts are refused. Safety figures cover the harmful prompts, and no others."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.metrics.counts import Tally
from safechain_ray.metrics.safety import Metric, measure, missing_verdicts
from safechain_ray.schema import Part

REFUSAL_RULE = "refusal phrases"
"""Who looks for refusals in responses where no judge of the run does. The blank sets it apart from judges' names."""

RefusalSource = tuple[str, Part]
"""Who says which responses are refusals, and of which part: what this judge calls safe is a refusal."""


@dataclass(frozen=True, slots=True)
class PromptKinds:
    """Which prompts of a data set are benign: those of `benign_categories`, of which there should be `benign_prompts`.

    None says that nobody named benign categories: every prompt counts as harmful, and the report says so.
    """

    benign_categories: tuple[str, ...] | None = ()
    benign_prompts: int = 0

    def is_benign(self, category: str) -> bool:
        return category in (self.benign_categories or ())


@dataclass(frozen=True, slots=True)
class BenignPrompts:
    """How benign prompts are told from harmful ones, and who finds their refusals.

    `kinds` go by data set; a data set without any has harmful prompts alone. Of `refusal_judges` an unsafe verdict on a
    benign prompt says only that nothing was refused.
    """

    kinds: Mapping[str, PromptKinds] = field(default_factory=dict)
    refusals: RefusalSource | None = None
    refusal_judges: Collection[str] = ()


ALL_HARMFUL = BenignPrompts()


class RefusalMetrics(BaseModel):
    """How often the K responses to each of some benign prompts are refusals; lower is better.

    `refused` is the mean over prompts of the share of refusals. Its bounds take every missing response as no refusal,
    and as one. `missing` counts the responses that are not there, of K for each prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int
    missing: int
    refused: Metric


class OverRefusalMetrics(RefusalMetrics):
    """The refusals of all benign prompts of a setting, as `judge` finds them in one `part` of the samples."""

    judge: str
    part: Part
    categories: dict[str, RefusalMetrics] = Field(description="each benign category on its own")


def over_refusal(
    by_category: Mapping[str, Tally], absent: int, source: RefusalSource, samples: int, seed: int
) -> OverRefusalMetrics | None:
    """The refusals of benign prompts, from (refused, not refused) responses of each by category.

    `absent` benign prompts have no row yet. None without a benign prompt.
    """
    everything: dict[tuple[int, int], int] = {(0, 0): absent} if absent else {}
    for tally in by_category.values():
        for key, prompts in tally.items():
            everything[key] = everything.get(key, 0) + prompts
    if not everything:
        return None
    judge, part = source
    return OverRefusalMetrics(
        judge=judge,
        part=part,
        categories={category: _refusals(tally, samples, seed) for category, tally in by_category.items()},
        **dict(_refusals(everything, samples, seed)),
    )


def _refusals(tally: Tally, samples: int, seed: int) -> RefusalMetrics:
    return RefusalMetrics(
        prompts=sum(tally.values()),
        missing=missing_verdicts(tally, samples),
        refused=measure("safe_at_1", tally, samples, seed),
    )
