"""Preference rates of one run's responses over another's: shares of wins, ties and losses."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa

from safechain_ray.metrics.intervals import Estimate, FrozenModel, share_estimate
from safechain_ray.types import Part, Setting

Shares = tuple[float, float, float]
"""Wins, ties, losses."""

_COLUMNS = ("setting_id", "prompt_id", "category", "outcome", "a_first", "b_first", "note")

Prompts = Mapping[str, Counter[str]]
"""By prompt: the number of its pairs by outcome."""


class PreferenceShares(FrozenModel):
    """Shares over the decided pairs; `missing` are the others of `pairs`. Intervals are clustered by prompt.

    `win_rate` counts a tie as half a win.
    """

    pairs: int
    missing: int
    win: Estimate
    tie: Estimate
    lose: Estimate
    win_rate: Estimate


class SettingPreferences(PreferenceShares):
    """A setting of run A against one of run B.

    Of the missing pairs, `unanswered` ones lack a response on a side, and on `judge_errors` the judge could not decide.
    `orders_differ` is the share of decided pairs with different answers for the two orders, which count as ties. `cut`
    pairs were too long for the judge's context.
    """

    setting_a: Setting
    setting_b: Setting
    unanswered: int
    judge_errors: int
    cut: int
    orders_differ: Estimate
    categories: dict[str, PreferenceShares]


class LeftOut(FrozenModel):
    """Parts of the runs without a counterpart: samples, samples with another prompt text, and whole settings."""

    samples_a: int
    samples_b: int
    other_prompt: int
    settings_a: tuple[str, ...]
    settings_b: tuple[str, ...]


class Preferences(FrozenModel):
    """`preferences.json`: run A against run B by one judge. `published` are A's shares in the paper, if any."""

    model_a: str
    model_b: str
    run_a: str
    run_b: str
    judge: str
    part_a: Part
    part_b: Part
    settings: tuple[SettingPreferences, ...]
    left_out: LeftOut
    caveats: tuple[str, ...]
    published_by: str
    published: Shares | None

    @property
    def missing(self) -> int:
        return sum(setting.missing for setting in self.settings)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A pair that can't be compared: one of its samples is an error, or was blocked."""

    setting_id: str
    prompt_id: str
    category: str


def summarise_preferences(
    tables: Iterable[pa.Table],
    unanswered: Sequence[Unanswered],
    settings: Sequence[tuple[Setting, Setting]],
    seed: int = 0,
) -> tuple[SettingPreferences, ...]:
    """The figures of each pair of settings, from all rows of `PREFERENCES_SCHEMA` and the pairs without a row."""
    found: dict[str, dict[str, dict[str, Counter[str]]]] = {first.setting_id: {} for first, _ in settings}

    def prompt(setting_id: str, category: str, prompt_id: str) -> Counter[str]:
        return found[setting_id].setdefault(category, {}).setdefault(prompt_id, Counter())

    for table in tables:
        for setting_id, prompt_id, category, outcome, a_first, b_first, note in zip(
            *(table[name].to_pylist() for name in _COLUMNS), strict=True
        ):
            counts = prompt(setting_id, category, prompt_id)
            counts[outcome] += 1
            counts["orders_differ"] += a_first != b_first
            counts["cut"] += note is not None
    for pair in unanswered:
        prompt(pair.setting_id, pair.category, pair.prompt_id)["unanswered"] += 1
    return tuple(_of_setting(first, second, found[first.setting_id], seed) for first, second in settings)


def _of_setting(first: Setting, second: Setting, categories: Mapping[str, Prompts], seed: int) -> SettingPreferences:
    prompts = {(category, name): counts for category, by in categories.items() for name, counts in by.items()}
    everything = list(prompts.values())
    total = sum(everything, Counter())
    return SettingPreferences(
        **dict(_shares(everything, seed)),
        setting_a=first,
        setting_b=second,
        unanswered=total["unanswered"],
        judge_errors=total["error"],
        cut=total["cut"],
        orders_differ=_share([(counts["orders_differ"], _decided(counts)) for counts in everything], seed),
        categories={category: _shares(list(by.values()), seed) for category, by in sorted(categories.items())},
    )


def _shares(prompts: Sequence[Counter[str]], seed: int) -> PreferenceShares:
    total = sum(prompts, Counter())
    missing = total["error"] + total["unanswered"]
    win, tie, lose = (
        _share([(counts[outcome], _decided(counts)) for counts in prompts], seed) for outcome in ("win", "tie", "lose")
    )
    points: list[tuple[Fraction, int]] = [
        (Fraction(2 * counts["win"] + counts["tie"], 2), _decided(counts)) for counts in prompts
    ]
    # A half win is no Bernoulli trial, so Wilson's interval does not apply.
    win_rate = share_estimate(Counter(pair for pair in points if pair[1]), clustered=True, seed=seed)
    return PreferenceShares(
        pairs=_decided(total) + missing, missing=missing, win=win, tie=tie, lose=lose, win_rate=win_rate
    )


def _share(prompts: Sequence[tuple[int, int]], seed: int) -> Estimate:
    """The share from (counted pairs, decided pairs) of each prompt."""
    units = Counter(pair for pair in prompts if pair[1])
    return share_estimate(units, clustered=any(decided > 1 for _, decided in units), seed=seed)


def _decided(counts: Counter[str]) -> int:
    return counts["win"] + counts["tie"] + counts["lose"]
