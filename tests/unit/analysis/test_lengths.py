"""Lengths of safe and unsafe samples: summaries, rank tests, and clustered errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from safechain_ray.analysis.thought_answer import length_comparison, rank_test
from safechain_ray.types import Sample
from tests.unit.analysis.judged_samples import FIVE, GREEDY, rows_of, sample

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=12)


def test_a_comparison_equals_numpys_and_scipys_figures():
    rng = np.random.default_rng(5)
    unsafe, tokens = rng.random(200) < 0.4, rng.integers(1, 50, size=200)
    samples = [
        sample(FIVE, number // 5, number % 5, {"answer": bool(is_unsafe)}, thought_tokens=int(length))
        for number, (is_unsafe, length) in enumerate(zip(unsafe, tokens, strict=True))
    ]
    found = length_comparison(rows_of(FIVE, samples), "guard", "answer", "thought")
    for summary, lengths in ((found.unsafe, tokens[unsafe]), (found.safe, tokens[~unsafe])):
        assert (summary.n, summary.mean, summary.median) == (len(lengths), lengths.mean(), np.median(lengths))
        assert (summary.lower_quartile, summary.upper_quartile) == tuple(np.quantile(lengths, (0.25, 0.75)))
    u, p_value = mannwhitneyu(tokens[unsafe], tokens[~unsafe], method="asymptotic")
    assert found.test is not None
    assert (found.test.u, found.test.p_value) == (u, p_value)
    assert found.left_out == 0


@given(LENGTHS, LENGTHS)
def test_longer_is_how_often_an_unsafe_sample_is_longer_with_half_of_the_ties(unsafe: list[int], safe: list[int]):
    lengths = np.array([*unsafe, *safe], dtype=float)
    is_unsafe = np.arange(len(lengths)) < len(unsafe)
    found = rank_test(lengths, is_unsafe, np.arange(len(lengths)))
    pairs = [(a > b) + (a == b) / 2 for a in unsafe for b in safe]
    assert found.longer == pytest.approx(sum(pairs) / len(pairs))
    assert found.rank_biserial == pytest.approx(2 * found.longer - 1)
    if found.low is not None and found.high is not None and found.clustered_p_value is not None:
        assert 0 <= found.low <= found.longer <= found.high <= 1
        assert 0 <= found.clustered_p_value <= 1


def clustered_samples(
    rng: np.random.Generator, prompts: int, spread: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five samples a prompt, lengths that verdicts don't hang on; with `spread` both hang on the prompt."""
    of_prompt = np.repeat(np.arange(prompts), 5)
    lengths = (rng.normal(size=prompts) * spread)[of_prompt] + rng.normal(size=5 * prompts)
    unsafe = (rng.normal(size=prompts) * spread)[of_prompt] + rng.normal(size=5 * prompts) > 0
    return lengths, unsafe, of_prompt


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_the_clustered_p_is_below_5_percent_about_5_times_in_100_where_nothing_is_to_find(spread: float):
    rng = np.random.default_rng(11)
    tests = [rank_test(*clustered_samples(rng, 60, spread)) for _ in range(400)]
    false_finds = np.mean([test.clustered_p_value < 0.05 for test in tests])
    naive = np.mean([test.p_value < 0.05 for test in tests])
    assert 0.02 <= false_finds <= 0.09
    assert naive > 0.25 if spread else naive < 0.09


def test_the_clustered_interval_is_that_of_a_bootstrap_over_prompts():
    rng = np.random.default_rng(2)
    lengths, unsafe, prompts = clustered_samples(rng, 150, 1.5)
    lengths = lengths + unsafe
    found = rank_test(lengths, unsafe, prompts)
    drawn = []
    for _ in range(400):
        chosen = np.concatenate([np.flatnonzero(prompts == prompt) for prompt in rng.integers(0, 150, size=150)])
        long, short = lengths[chosen][unsafe[chosen]], lengths[chosen][~unsafe[chosen]]
        drawn.append(mannwhitneyu(long, short).statistic / (len(long) * len(short)))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.02)


def compared(*samples: Sample):
    return length_comparison(rows_of(GREEDY, samples), "guard", "response", "thought")


def test_samples_without_a_verdict_or_without_tokens_are_left_out():
    found = compared(
        sample(GREEDY, 0, 0, {"response": True}, thought_tokens=3),
        sample(GREEDY, 1, 0, {"response": None}, thought_tokens=3),
        sample(GREEDY, 2, 0, {"response": False}, thought_tokens=None),
    )
    assert (found.unsafe.n, found.safe.n, found.left_out) == (1, 0, 2)
    assert (found.safe.median, found.test) == (None, None)


def test_lengths_that_are_all_equal_are_not_tested():
    found = compared(*(sample(GREEDY, prompt, 0, {"response": prompt < 5}) for prompt in range(10)))
    assert (found.unsafe.n, found.safe.n, found.test) == (5, 5, None)


def test_one_prompt_on_a_side_gives_no_interval():
    samples = [sample(FIVE, 0, index, {"response": True}, thought_tokens=index) for index in range(5)]
    samples += [sample(FIVE, prompt, 0, {"response": False}, thought_tokens=prompt) for prompt in range(1, 9)]
    found = length_comparison(rows_of(FIVE, samples), "guard", "response", "thought").test
    assert found is not None
    assert (found.low, found.high, found.clustered_p_value) == (None, None, None)
