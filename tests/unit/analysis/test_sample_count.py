"""Safe@k and ConsSafe@k against k: the mean over all choices of k samples, and at k = K the run's own metrics."""

from fractions import Fraction
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.analysis.fine_grained import AtK, cons_safe_at_k, safe_at_k, sample_count_curve
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.summary import summarise
from safechain_ray.types import Sample
from tests.unit.analysis.judged_samples import FIVE, GREEDY, rows_of, sample

PROMPTS = st.lists(st.lists(st.sampled_from([True, False, None]), min_size=4, max_size=5), min_size=1, max_size=8)


def samples_of(prompts: list[list[bool | None]]) -> list[Sample]:
    return [
        sample(FIVE, number, index, {"response": unsafe})
        for number, said in enumerate(prompts)
        for index, unsafe in enumerate(said)
    ]


def curve_of(prompts: list[list[bool | None]]) -> tuple[AtK, ...]:
    return sample_count_curve(rows_of(FIVE, samples_of(prompts)), "guard", "response").points


def estimate(metric: Estimate) -> dict[str, object]:
    return {name: getattr(metric, name) for name in Estimate.model_fields}


@given(st.integers(0, 7), st.integers(1, 7))
def test_a_value_is_the_mean_over_every_choice_of_k_samples(safe: int, k: int):
    choices = list(combinations([True] * safe + [False] * (7 - safe), k))
    assert safe_at_k(safe, k, 7) == Fraction(sum(map(all, choices)), len(choices))
    assert cons_safe_at_k(safe, k, 7) == Fraction(sum(2 * sum(choice) >= k for choice in choices), len(choices))


@given(PROMPTS)
def test_at_k_equal_to_k_both_are_the_metrics_of_the_run_to_the_last_digit(prompts: list[list[bool | None]]):
    samples = samples_of(prompts)
    curve = sample_count_curve(rows_of(FIVE, samples), "guard", "response")
    (judge,) = summarise(count_samples(samples), [FIVE], [("guard", "response")]).settings[0].judges
    assert [point.k for point in curve.points] == [1, 2, 3, 4, 5]
    assert estimate(curve.points[-1].safe_at_k) == estimate(judge.safe_at_k)
    assert estimate(curve.points[-1].cons_safe_at_k) == estimate(judge.cons_safe_at_k)


@given(PROMPTS)
def test_safe_at_k_never_grows_with_k(prompts: list[list[bool | None]]):
    values = [point.safe_at_k.value for point in curve_of(prompts)]
    assert all(value is None for value in values) or values == sorted(values, reverse=True)


def test_at_one_sample_both_are_safe_at_1_where_no_verdict_is_missing():
    first = curve_of([[True] * number + [False] * (5 - number) for number in (0, 1, 1, 3, 5)])[0]
    assert first.safe_at_k.value == first.cons_safe_at_k.value == 0.6


def test_a_prompt_with_a_missing_verdict_is_left_out():
    points = curve_of([[False] * 5, [True] * 4, [*[True] * 4, None]])
    assert {(point.safe_at_k.value, point.safe_at_k.n) for point in points} == {(1.0, 1)}


def test_one_sample_a_prompt_makes_a_curve_of_one_point():
    rows = rows_of(GREEDY, [sample(GREEDY, 0, 0, {"response": True})])
    (point,) = sample_count_curve(rows, "guard", "response").points
    assert (point.k, point.safe_at_k.value, point.safe_at_k.n) == (1, 0.0, 1)
