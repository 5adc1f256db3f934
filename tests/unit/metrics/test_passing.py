"""pass@1, pass@k, their intervals and bounds, and two models on the same problems."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import (
    ProblemGrades,
    compare_passes,
    count_grades,
    pass_at_k,
    summarise_grades,
)
from safechain_ray.metrics.intervals import wilson
from safechain_ray.metrics.safety import mcnemar


def of(*problems: tuple[int, int], samples: int) -> list[ProblemGrades]:
    return [
        ProblemGrades(str(number), correct, wrong, samples - correct - wrong)
        for number, (correct, wrong) in enumerate(problems)
    ]


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6))
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_that_hold_a_correct_one(correct: int, wrong: int, k: int):
    choices = list(combinations([True] * correct + [False] * wrong, k))
    expected = Fraction(sum(any(choice) for choice in choices), len(choices)) if choices else None
    assert pass_at_k(correct, wrong, k) == expected


@given(st.integers(0, 50), st.integers(0, 50).filter(bool))
def test_pass_at_1_is_the_share_of_correct_samples(correct: int, wrong: int):
    assert pass_at_k(correct, wrong, 1) == Fraction(correct, correct + wrong)


def test_for_one_sample_a_problem_the_interval_is_wilsons():
    metrics = summarise_grades(of(*[(1, 0)] * 30, *[(0, 1)] * 10, samples=1), 1)
    found = metrics.pass_at[1]
    assert (found.value, found.method, found.n) == (0.75, "wilson", 40)
    assert (found.low, found.high) == wilson(0.75, 40)
    assert metrics.missing == 0
    assert (found.bound_low, found.bound_high) == (0.75, 0.75)


def test_for_several_it_is_a_bootstrap_over_problems():
    metrics = summarise_grades(of(*[(4, 0)] * 10, *[(1, 3)] * 20, *[(0, 4)] * 10, samples=4), 4, ks=(1, 2, 4))
    assert [metrics.pass_at[k].value for k in (1, 2, 4)] == [0.375, 0.5, 0.75]
    for found in metrics.pass_at.values():
        assert found.method == "bootstrap"
        assert found.low < found.value < found.high


def test_grades_of_one_problem_are_not_independent_so_more_samples_alike_leave_the_interval_as_wide():
    once = summarise_grades(of(*[(1, 0)] * 10, *[(0, 1)] * 10, samples=1), 1).pass_at[1]
    often = summarise_grades(of(*[(50, 0)] * 10, *[(0, 50)] * 10, samples=50), 50).pass_at[1]
    assert often.high - often.low == pytest.approx(once.high - once.low, abs=0.05)


def test_a_missing_grade_is_neither_right_nor_wrong_and_the_bounds_hold_both():
    metrics = summarise_grades(of((2, 0), (1, 0), (0, 0), samples=2), 2, ks=(1, 2))
    assert metrics.missing == 3
    assert (metrics.pass_at[1].value, metrics.pass_at[1].n) == (1.0, 2)
    assert (metrics.pass_at[1].bound_low, metrics.pass_at[1].bound_high) == (0.5, 1.0)
    assert (metrics.pass_at[2].value, metrics.pass_at[2].n) == (1.0, 1)
    assert metrics.pass_at[2].bound_low == pytest.approx(2 / 3)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda pair: sum(pair) <= 3), min_size=1))
def test_pass_at_k_over_all_problems_lies_within_its_bounds_and_grows_with_k(problems: list[tuple[int, int]]):
    found = summarise_grades(of(*problems, samples=3), 3, ks=(1, 2, 3)).pass_at
    assert [found[k].bound_low for k in (1, 2, 3)] == sorted(found[k].bound_low for k in (1, 2, 3))
    if all(sum(pair) == 3 for pair in problems):
        assert all(each.bound_low == each.value == each.bound_high for each in found.values())


@pytest.mark.parametrize("k", [0, 3])
def test_a_k_that_the_samples_do_not_have_is_refused(k: int):
    with pytest.raises(InputError, match=rf"pass@{k} is undefined for 2 samples a problem\. Fix: give a k from 1 to 2"):
        summarise_grades(of((1, 1), samples=2), 2, ks=(k,))


def test_grades_are_counted_by_problem_and_those_not_there_are_missing():
    grades = [("a", True), ("a", False), ("b", None), ("a", True)]
    assert count_grades(grades, ["b", "a", "c"], 3) == [
        ProblemGrades("b", 0, 0, 3),
        ProblemGrades("a", 2, 1, 0),
        ProblemGrades("c", 0, 0, 3),
    ]


def test_rows_that_repeat_are_refused():
    with pytest.raises(InputError, match="Problem a has 2 rows where K is 1"):
        count_grades([("a", True), ("a", None)], ["a"], 1)


def test_two_models_are_compared_problem_by_problem():
    base = of(*[(1, 0)] * 5, *[(0, 1)] * 15, samples=1)
    tuned = of(*[(1, 0)] * 14, *[(0, 1)] * 5, (0, 0), samples=1)
    found = compare_passes(base, tuned, (1, 1))
    assert (found.first, found.second) == pytest.approx((5 / 19, 14 / 19))
    assert found.value == pytest.approx(9 / 19)
    assert (found.n, found.left_out) == (19, 1)
    assert found.p_value == mcnemar(0, 9)
    assert found.low > 0


def test_with_several_samples_there_is_no_mcnemar():
    found = compare_passes(of((2, 0), (0, 2), samples=2), of((1, 1), (1, 1), samples=2), (2, 2), k=2)
    assert (found.first, found.second, found.p_value) == (0.5, 1.0, None)
