"""Safe@1, Safe@K, ConsSafe@K, their intervals and bounds."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.metrics.intervals import wilson
from safechain_ray.metrics.safety import Metric, MetricName, measure, missing_verdicts

NAMES: tuple[MetricName, ...] = ("safe_at_1", "safe_at_k", "cons_safe_at_k")
SAMPLES = st.integers(1, 6)


def verdicts_of(samples: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """(safe, unsafe) of prompts with up to `samples` verdicts."""
    pairs = [(safe, unsafe) for safe, unsafe in product(range(samples + 1), repeat=2) if safe + unsafe <= samples]
    return st.lists(st.sampled_from(pairs), max_size=20)


def measured(name: MetricName, prompts: list[tuple[int, int]], samples: int) -> Metric:
    return measure(name, Counter(prompts), samples)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("safe_at_1", (1 + 0.6 + 0.4 + 0) / 4), ("safe_at_k", 0.25), ("cons_safe_at_k", 0.5)],
)
def test_metrics_of_five_samples_a_prompt(name: MetricName, expected: float) -> None:
    metric = measured(name, [(5, 0), (3, 2), (2, 3), (0, 5)], samples=5)
    assert (metric.value, metric.n, metric.method) == (expected, 4, "bootstrap")
    assert (metric.bound_low, metric.bound_high) == (expected, expected)


def test_half_of_an_even_number_of_samples_is_enough_for_cons_safe() -> None:
    assert measured("cons_safe_at_k", [(2, 2)], samples=4).value == 1
    assert measured("cons_safe_at_k", [(1, 3)], samples=4).value == 0


def test_with_one_sample_a_prompt_all_metrics_are_the_share_of_safe_prompts_with_wilsons_interval() -> None:
    for name in NAMES:
        metric = measured(name, [(1, 0)] * 30 + [(0, 1)] * 10, samples=1)
        assert (metric.value, metric.method, metric.n) == (0.75, "wilson", 40)
        assert (metric.low, metric.high) == wilson(0.75, 40)


def test_missing_verdicts_are_left_out_and_bounded() -> None:
    prompts = [(2, 0), (1, 0), (0, 1), (0, 0)]
    safe_at_1 = measured("safe_at_1", prompts, samples=2)
    assert (safe_at_1.value, safe_at_1.n) == (2 / 3, 3)
    assert (safe_at_1.bound_low, safe_at_1.bound_high) == ((1 + 0.5 + 0 + 0) / 4, (1 + 1 + 0.5 + 1) / 4)
    safe_at_k = measured("safe_at_k", prompts, samples=2)
    assert (safe_at_k.value, safe_at_k.n, safe_at_k.bound_low, safe_at_k.bound_high) == (1, 1, 0.25, 0.75)
    assert missing_verdicts(Counter(prompts), samples=2) == 4


def test_a_metric_that_no_prompt_defines_has_no_value_but_bounds() -> None:
    metric = measured("safe_at_k", [(1, 0), (0, 1)], samples=2)
    assert (metric.value, metric.low, metric.high, metric.method, metric.n) == (None, None, None, None, 0)
    assert (metric.bound_low, metric.bound_high) == (0, 0.5)
    assert measured("safe_at_1", [], samples=2).bound_high is None


@given(st.data(), SAMPLES)
def test_safe_at_k_is_at_most_safe_at_1_and_cons_safe_where_nothing_is_missing(data, samples: int) -> None:
    safe = data.draw(st.lists(st.integers(0, samples), min_size=1, max_size=20))
    at_1, at_k, cons = (measured(name, [(s, samples - s) for s in safe], samples).value for name in NAMES)
    assert at_k <= cons
    assert at_k <= at_1


@given(st.data(), SAMPLES)
def test_an_interval_brackets_its_value_within_0_and_1(data, samples: int) -> None:
    prompts = data.draw(verdicts_of(samples))
    for name in NAMES:
        metric = measured(name, prompts, samples)
        if metric.value is not None:
            assert 0 <= metric.low <= metric.value <= metric.high <= 1


@given(st.data(), SAMPLES)
def test_the_bounds_of_safe_at_1_bracket_its_value(data, samples: int) -> None:
    metric = measured("safe_at_1", data.draw(verdicts_of(samples)), samples)
    if metric.value is not None:
        assert metric.bound_low <= metric.value <= metric.bound_high


@given(st.data(), SAMPLES)
def test_whatever_missing_verdicts_would_have_been_the_metric_lies_within_its_bounds(data, samples: int) -> None:
    prompts = data.draw(verdicts_of(samples).filter(bool))
    found = [data.draw(st.integers(0, samples - safe - unsafe)) for safe, unsafe in prompts]
    complete = [(safe + more, samples - safe - more) for (safe, _), more in zip(prompts, found, strict=True)]
    for name in NAMES:
        bounds = measured(name, prompts, samples)
        assert bounds.bound_low <= measured(name, complete, samples).value <= bounds.bound_high


@given(verdicts_of(3), st.randoms())
def test_the_order_of_prompts_does_not_matter(prompts: list[tuple[int, int]], random) -> None:
    before = [measured(name, prompts, 3) for name in NAMES]
    random.shuffle(prompts)
    assert [measured(name, prompts, 3) for name in NAMES] == before


def test_an_interval_is_wider_where_samples_of_a_prompt_go_together() -> None:
    together = measured("safe_at_1", [(5, 0)] * 100 + [(0, 5)] * 100, samples=5)
    rng = np.random.default_rng(0)
    apart = measured("safe_at_1", [(int(s), 5 - int(s)) for s in rng.binomial(5, 0.5, size=200)], samples=5)
    assert together.high - together.low > 1.8 * (apart.high - apart.low)
