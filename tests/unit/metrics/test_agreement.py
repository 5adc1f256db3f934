"""A judge against labels."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safechain_ray.metrics.agreement import Agreement, agreement
from safechain_ray.metrics.intervals import wilson

BOOLS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def agreement_of_counts(tp: int, fp: int, fn: int, tn: int) -> Agreement:
    verdicts = [True] * (tp + fp) + [False] * (fn + tn)
    labels = [True] * tp + [False] * fp + [True] * fn + [False] * tn
    return agreement(verdicts, labels)


def test_figures_by_hand() -> None:
    found = agreement_of_counts(tp=20, fp=5, fn=10, tn=15)
    assert found.accuracy.value == 35 / 50
    assert found.f1.value == 40 / 55
    assert found.kappa.value == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert found.pearson_r.value == pytest.approx((20 * 15 - 5 * 10) / sqrt(25 * 25 * 30 * 20))
    assert found.confusion.model_dump() == {
        "true_positive": 20,
        "false_positive": 5,
        "false_negative": 10,
        "true_negative": 15,
    }


@given(BOOLS)
def test_pearson_r_is_numpys(rows: list[tuple[bool, bool]]) -> None:
    verdicts, labels = (list(column) for column in zip(*rows, strict=True))
    assume(len(set(verdicts)) == len(set(labels)) == 2)
    assert agreement(verdicts, labels).pearson_r.value == pytest.approx(np.corrcoef(verdicts, labels)[0, 1], abs=1e-12)


@given(BOOLS)
def test_swapping_verdicts_and_labels_changes_no_figure(rows: list[tuple[bool, bool]]) -> None:
    verdicts, labels = (list(column) for column in zip(*rows, strict=True))
    one, other = agreement(verdicts, labels), agreement(labels, verdicts)
    for name in ("accuracy", "f1", "pearson_r", "kappa"):
        assert getattr(one, name).value == pytest.approx(getattr(other, name).value, abs=1e-12)


@given(BOOLS)
def test_intervals_bracket_their_values_and_repeat(rows: list[tuple[bool, bool]]) -> None:
    verdicts, labels = (list(column) for column in zip(*rows, strict=True))
    found = agreement(verdicts, labels, seed=3)
    assert found == agreement(verdicts, labels, seed=3)
    for estimate in (found.accuracy, found.f1, found.pearson_r, found.kappa):
        if estimate.method is not None:
            assert estimate.low <= estimate.value <= estimate.high


def test_missing_verdicts_are_counted_and_left_out() -> None:
    found = agreement([True, None, False, None], [True, True, True, False])
    assert (found.n, found.missing, found.accuracy.value) == (2, 2, 0.5)


def test_figures_that_nothing_defines_have_no_value() -> None:
    only_safe = agreement([False] * 4, [False] * 4)
    assert only_safe.accuracy.value == 1
    assert [only_safe.f1.value, only_safe.pearson_r.value, only_safe.kappa.value] == [None, None, None]
    nothing = agreement([None, None], [True, False])
    assert (nothing.n, nothing.missing, nothing.accuracy.value) == (0, 2, None)


def test_full_agreement_has_wilsons_interval_for_accuracy_and_none_for_the_rest() -> None:
    found = agreement_of_counts(tp=30, fp=0, fn=0, tn=50)
    assert (found.accuracy.low, found.accuracy.method) == (wilson(1, 80)[0], "wilson")
    for estimate in (found.f1, found.pearson_r, found.kappa):
        assert (estimate.value, estimate.low, estimate.method) == (1, None, None)


def test_scores_have_a_pearson_r_of_their_own_over_the_rows_that_have_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.4
    scores = np.clip(0.3 * labels + 0.7 * rng.random(300), 0, 1)
    found = agreement(
        [None, *(scores > 0.5).tolist()], [True, *labels.tolist()], [None, *scores.tolist()]
    ).score_pearson_r
    assert found.value == pytest.approx(np.corrcoef(scores, labels)[0, 1], abs=1e-12)
    assert found.n == 300
    resampled = [np.corrcoef(scores[i], labels[i])[0, 1] for i in rng.integers(0, 300, size=(3000, 300))]
    assert (found.low, found.high) == pytest.approx(np.quantile(resampled, (0.025, 0.975)), abs=0.01)


def test_constant_scores_have_no_pearson_r() -> None:
    assert agreement([True, False], [True, False], [0.3, 0.3]).score_pearson_r.value is None
    assert agreement([True, False], [True, False], [None, None]).score_pearson_r.n == 0


def test_verdicts_and_labels_of_unlike_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        agreement([True, False], [True])
