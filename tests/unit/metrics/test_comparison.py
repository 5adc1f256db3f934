"""Comparisons against a naive recomputation, scipy's binomial test among it."""

import numpy as np
import pytest
from scipy.stats import binomtest

from safechain_ray.metrics.comparison import ComparedSettings, Comparison, JudgeComparison, Side, compare_sides
from safechain_ray.metrics.counts import PromptCounts
from safechain_ray.metrics.published import Counterpart
from safechain_ray.types import Sampling, Setting

GREEDY = Setting(dataset="d")
FIVE = Setting(dataset="d", sampling=Sampling(temperature=0.6), samples=5)
Decisions = list[list[bool | None]]


def decisions(samples: int, prompts: int, seed: int, unsafe: float, missing: float = 0.1) -> Decisions:
    rng = np.random.default_rng(seed)
    draw = rng.random((prompts, samples, 2))
    return [[None if lost < missing else bool(one < unsafe) for one, lost in prompt] for prompt in draw]


def side(setting: Setting, unsafe: Decisions, counterpart: Counterpart | None = None) -> Side:
    counts = [
        PromptCounts(f"p{i}", "c", each.count(False), each.count(True), each.count(None))
        for i, each in enumerate(unsafe)
    ]
    return Side(setting, counts, counterpart)


def naive(metric: str, verdicts: list[bool | None]) -> float | None:
    known = [not unsafe for unsafe in verdicts if unsafe is not None]
    if metric == "safe_at_1":
        return np.mean(known) if known else None
    if len(known) < len(verdicts):
        return None
    return float(all(known)) if metric == "safe_at_k" else float(sum(known) >= len(known) / 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("setting", [GREEDY, FIVE], ids=["K=1", "K=5"])
def test_every_figure_is_that_of_a_loop_over_the_prompts(setting: Setting, seed: int) -> None:
    first = decisions(setting.samples, 300, seed, unsafe=0.6)
    second = decisions(setting.samples, 300, seed + 100, unsafe=0.3)
    found = compare_sides("guard", "response", side(setting, first), side(setting, second))
    metrics = ["safe_at_1"] if setting is GREEDY else ["safe_at_1", "cons_safe_at_k", "safe_at_k"]
    assert [each.metric for each in found.differences] == metrics
    for each in found.differences:
        pairs = [(naive(each.metric, a), naive(each.metric, b)) for a, b in zip(first, second, strict=True)]
        both = np.array([pair for pair in pairs if None not in pair], dtype=float)
        assert (each.n, each.left_out) == (len(both), 300 - len(both))
        assert [each.first, each.second] == pytest.approx(both.mean(axis=0))
        assert each.value == pytest.approx((both[:, 1] - both[:, 0]).mean())
        rng = np.random.default_rng(seed)
        steps = (both[:, 1] - both[:, 0])[rng.integers(0, len(both), (4000, len(both)))].mean(axis=1)
        assert [each.low, each.high] == pytest.approx(np.quantile(steps, [0.025, 0.975]), abs=0.03)
        if setting is GREEDY:
            better, worse = (both[:, 1] > both[:, 0]).sum(), (both[:, 1] < both[:, 0]).sum()
            assert each.p_value == pytest.approx(binomtest(int(better), int(better + worse)).pvalue)
        else:
            assert each.p_value is None


def test_with_another_k_on_each_side_only_safe_at_1_is_of_the_same_thing() -> None:
    found = compare_sides("guard", "response", side(GREEDY, [[True]]), side(FIVE, [[False] * 5]))
    assert [(each.metric, each.value, each.p_value) for each in found.differences] == [("safe_at_1", 1.0, None)]


def counterpart(**shares: float) -> Counterpart:
    return Counterpart(model="m", dataset="d", shares=shares, differs=(), externally_filtered=False)


def test_the_published_difference_stands_beside_where_both_were_published() -> None:
    before, after = counterpart(safe_at_1=0.4, safe_at_k=0.1), counterpart(safe_at_1=0.9, safe_at_k=0.8)
    first, second = side(FIVE, [[True] * 5], before), side(FIVE, [[False] * 5], after)
    found = compare_sides("guard", "response", first, second)
    assert [each.published for each in found.differences] == [pytest.approx(0.5), None, pytest.approx(0.7)]
    assert found.counterparts == (before, after)
    alone = compare_sides("guard", "response", side(FIVE, [[True] * 5]), second)
    assert ([each.published for each in alone.differences], alone.counterparts) == ([None] * 3, None)


def compared(*judges: JudgeComparison) -> ComparedSettings:
    return ComparedSettings(run="r", first=GREEDY, second=GREEDY, same_data=True, prompts=(9, 9, 9), judges=judges)


def test_holms_correction_is_over_every_test_of_the_comparison() -> None:
    nine = [[True]] * 9
    strong = compare_sides("guard", "response", side(GREEDY, nine), side(GREEDY, [[False]] * 9))
    weak = compare_sides("other", "response", side(GREEDY, nine), side(GREEDY, [[False]] * 5 + [[True]] * 4))
    untested = compare_sides("guard", "thought", side(FIVE, [[True] * 5]), side(FIVE, [[True] * 5]))
    whole = Comparison(between="runs", baseline="b", paper=False, pairs=(compared(weak, untested), compared(strong)))
    assert whole.tests == 2
    (first, nothing), (second,) = ([judge.differences for judge in pair.judges] for pair in whole.corrected().pairs)
    assert (first[0].p_value, first[0].p_adjusted) == (0.0625, 0.0625)
    assert (second[0].p_value, second[0].p_adjusted) == (2 / 512, 4 / 512)
    assert {each.p_adjusted for each in nothing} == {None}
