"""Comparing two settings on the same prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.metrics.counts import PromptCounts
from safechain_ray.metrics.safety import mcnemar, paired_difference


def prompts(safe: list[int | None], samples: int = 1) -> list[PromptCounts]:
    """One prompt for each count of safe verdicts; None has none at all."""
    return [
        PromptCounts(f"p{i:03}", "c", 0, 0, samples) if s is None else PromptCounts(f"p{i:03}", "c", s, samples - s, 0)
        for i, s in enumerate(safe)
    ]


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (5, 5, 1.0), (10, 2, 158 / 4096)],
)
def test_mcnemar_is_the_exact_sign_test(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar(only_first, only_second) == p
    assert mcnemar(only_second, only_first) == p


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_p_value_lies_within_0_and_1(only_first: int, only_second: int) -> None:
    assert 0 <= mcnemar(only_first, only_second) <= 1


def test_a_difference_is_of_the_second_from_the_first_on_prompts_that_both_have() -> None:
    difference = paired_difference(
        "safe_at_1", prompts([0, 0, 1, 1, None, 1]), prompts([1, 1, 1, 0, 1])[::-1], samples=(1, 1)
    )
    assert (difference.value, difference.n, difference.left_out) == (0.25, 4, 2)
    assert difference.p_value == mcnemar(1, 2)
    assert difference.method == "bootstrap"
    assert -1 <= difference.low < 0.25 < difference.high <= 1


def test_pairing_is_narrower_than_the_spread_between_prompts() -> None:
    first = [0, 5] * 100
    difference = paired_difference(
        "safe_at_1", prompts(first, 5), prompts([min(5, s + i % 2) for i, s in enumerate(first[::-1])][::-1], 5), (5, 5)
    )
    assert difference.high - difference.low < 0.05
    assert difference.p_value is None


def test_equal_settings_differ_by_nothing_within_what_so_few_prompts_can_tell() -> None:
    difference = paired_difference("safe_at_k", prompts([1] * 50), prompts([1] * 50), samples=(1, 1))
    assert (difference.value, difference.method, difference.p_value) == (0, "wilson", 1)
    assert difference.low == -difference.high
    assert 0.05 < difference.high < 0.1


def test_settings_without_a_common_prompt_have_no_difference() -> None:
    difference = paired_difference("safe_at_1", prompts([None, 1]), prompts([1, None]), samples=(1, 1))
    assert (difference.value, difference.n, difference.left_out, difference.p_value) == (None, 0, 2, None)
