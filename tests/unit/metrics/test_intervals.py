"""Wilson's interval and the clustered bootstrap."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.metrics.intervals import NOTHING, bootstrap, share_estimate, wilson


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilson_stays_within_0_and_1_and_around_the_share(n: int, share: float) -> None:
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (15, 50, 0.19103, 0.43751), (1, 2, 0.09453, 0.90547)],
)
def test_wilson_has_its_textbook_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes / n, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def mean_of(values: np.ndarray):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_a_bootstrap_over_cells_is_the_bootstrap_over_units() -> None:
    rng = np.random.default_rng(7)
    values = rng.integers(0, 6, size=200) / 5
    levels, cells = np.unique(values, return_counts=True)
    units = np.quantile(values[rng.integers(0, 200, size=(10_000, 200))].mean(axis=1), (0.025, 0.975))
    assert bootstrap(cells.tolist(), mean_of(levels), seed=1) == pytest.approx(units, abs=0.005)


def test_a_bootstrap_repeats_with_its_seed_and_moves_with_another() -> None:
    cells, levels = [30, 40, 50, 60, 70, 63], np.arange(6) / 5
    first = bootstrap(cells, mean_of(levels), seed=1)
    assert bootstrap(cells, mean_of(levels), seed=1) == first
    assert bootstrap(cells, mean_of(levels), seed=2) != first


def test_resamples_that_leave_a_statistic_undefined_are_left_out() -> None:
    assert bootstrap([1, 1], lambda weights: np.where(weights[:, 0] == 1, 0.5, np.nan), seed=0) == (0.5, 0.5)
    assert bootstrap([1, 1], lambda weights: np.full(len(weights), np.nan), seed=0) is None


def test_a_bootstrap_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        safe = rng.binomial(5, rng.beta(2, 1, size=150))
        units = {
            (Fraction(int(s), 5), 1): int(count) for s, count in zip(*np.unique(safe, return_counts=True), strict=True)
        }
        estimate = share_estimate(units, clustered=True, seed=0)
        covered += estimate.low <= 2 / 3 <= estimate.high
    assert 270 <= covered <= 297


def test_units_that_are_all_alike_get_wilson_and_say_so() -> None:
    estimate = share_estimate({(Fraction(1), 1): 313}, clustered=True, seed=0)
    assert (estimate.value, estimate.method, estimate.high) == (1.0, "wilson", 1.0)
    assert estimate.low == wilson(1.0, 313)[0]


def test_a_share_is_a_ratio_of_sums() -> None:
    estimate = share_estimate({(1, 1): 1, (0, 3): 1}, clustered=True, seed=0)
    assert (estimate.value, estimate.n, estimate.method) == (0.25, 2, "bootstrap")


def test_no_units_make_no_estimate() -> None:
    assert share_estimate({}, clustered=True, seed=0) == NOTHING
