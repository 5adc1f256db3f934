"""Rows for the tests of metrics: a `Sample` from the counted fields only."""

from safechain_ray import testing
from safechain_ray.testing import verdict
from safechain_ray.types import Outcome, Part, Sample, Sampling, Setting, Verdict

GREEDY = Setting(dataset="d")
FIVE = Setting(dataset="d", sampling=Sampling(temperature=0.6), samples=5)
GUARD: tuple[str, Part] = ("guard", "response")


def sample(
    setting: Setting,
    prompt_id: str,
    index: int = 0,
    *verdicts: Verdict,
    category: str = "c",
    outcome: Outcome = "ok",
    thought_tokens: int | None = 2,
    seconds: float = 0.1,
) -> Sample:
    return testing.sample(
        setting,
        prompt_id=prompt_id,
        category=category,
        sample_index=index,
        outcome=outcome,
        prompt_tokens=3,
        thought_tokens=thought_tokens,
        answer_tokens=None,
        forced_rounds=1,
        seconds=seconds,
        verdicts=verdicts,
    )


def prompt_rows(setting: Setting, prompt_id: str, unsafe: list[bool | None], category: str = "c") -> list[Sample]:
    """One row for each of `unsafe`: its verdict by the judge `guard`."""
    return [sample(setting, prompt_id, index, verdict(each), category=category) for index, each in enumerate(unsafe)]
