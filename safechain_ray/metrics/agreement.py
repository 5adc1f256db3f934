"""Agreement of judges and votes with human labels: accuracy, F1, Pearson's r and Cohen's kappa (unsafe is positive)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import Field

from safechain_ray.catalog.published import Pilot
from safechain_ray.metrics.intervals import NOTHING, Estimate, Floats, FrozenModel, bootstrap, wilson
from safechain_ray.types import Part, Verdict


class Confusion(FrozenModel):
    """Rows by (verdict, label); positive is unsafe."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class Agreement(FrozenModel):
    """A judge against labels over the `n` rows with a verdict; `missing` rows have none and are left out.

    An estimate's value is None if it is undefined (F1 without any unsafe, r and kappa of a constant). `score_pearson_r`
    is of the judge's scores, over the rows with a score; None without scores.
    """

    n: int
    missing: int
    confusion: Confusion
    accuracy: Estimate
    f1: Estimate
    pearson_r: Estimate
    kappa: Estimate
    score_pearson_r: Estimate | None


def agreement(
    verdicts: Sequence[bool | None],
    labels: Sequence[bool],
    scores: Sequence[float | None] | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare verdicts (True is unsafe, None is missing) with labels of the same rows, in the same order.

    Intervals are percentile bootstraps over rows. If all rows agree or all disagree, a bootstrap has no width: accuracy
    then gets Wilson's interval, and the others none.
    """
    pairs = [(verdict, label) for verdict, label in zip(verdicts, labels, strict=True) if verdict is not None]
    cells = [pairs.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))]
    true_positive, false_positive, false_negative, true_negative = cells
    return Agreement(
        n=len(pairs),
        missing=len(verdicts) - len(pairs),
        confusion=Confusion(
            true_positive=true_positive,
            false_positive=false_positive,
            false_negative=false_negative,
            true_negative=true_negative,
        ),
        accuracy=_accuracy_estimate(cells, seed),
        f1=_estimate(cells, _f1, seed),
        pearson_r=_estimate(cells, _pearson_r, seed),
        kappa=_estimate(cells, _kappa, seed),
        score_pearson_r=None if scores is None else _score_estimate(scores, labels, seed),
    )


def _accuracy(cells: Floats) -> Floats:
    tp, _, _, tn = cells.T
    return _ratio(tp + tn, cells.sum(axis=1))


def _f1(cells: Floats) -> Floats:
    """2TP / (2TP + FP + FN)."""
    tp, fp, fn, _ = cells.T
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _pearson_r(cells: Floats) -> Floats:
    """Pearson's r of two binary variables (phi) from their four counts."""
    tp, fp, fn, tn = cells.T
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (fn + tn)) * np.sqrt((tp + fn) * (fp + tn)))


def _kappa(cells: Floats) -> Floats:
    """(observed - expected) / (1 - expected) agreement (Cohen 1960), with both sides multiplied by n squared over 2."""
    tp, fp, fn, tn = cells.T
    return _ratio(2 * (tp * tn - fp * fn), (tp + fp) * (fp + tn) + (tp + fn) * (fn + tn))


def _ratio(above: Floats, below: Floats) -> Floats:
    """The quotient, NaN where `below` is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)


def _estimate(cells: Sequence[int], statistic: Callable[[Floats], Floats], seed: int) -> Estimate:
    """The estimate of a statistic; `cells` and `statistic` are as in `bootstrap`."""
    n = sum(cells)
    if n == 0:
        return NOTHING
    value = float(statistic(np.array([cells], dtype=np.float64))[0])
    if np.isnan(value):
        return Estimate(value=None, low=None, high=None, method=None, n=n)
    interval = bootstrap(cells, statistic, seed)
    if interval is None or interval[1] - interval[0] < 1e-12:
        return Estimate(value=value, low=None, high=None, method=None, n=n)
    low, high = interval
    return Estimate(value=value, low=min(low, value), high=max(high, value), method="bootstrap", n=n)


def _accuracy_estimate(cells: Sequence[int], seed: int) -> Estimate:
    estimate = _estimate(cells, _accuracy, seed)
    if estimate.value is None or estimate.method is not None:
        return estimate
    low, high = wilson(estimate.value, estimate.n)
    return Estimate(value=estimate.value, low=low, high=high, method="wilson", n=estimate.n)


def _score_estimate(scores: Sequence[float | None], labels: Sequence[bool], seed: int) -> Estimate:
    rows = [(score, float(label)) for score, label in zip(scores, labels, strict=True) if score is not None]
    if not rows:
        return NOTHING
    x, y = (_to_unit(np.array(column, dtype=np.float64)) for column in zip(*rows, strict=True))

    def weighted_r(weights: Floats) -> Floats:
        n = weights.sum(axis=1)
        mean_x, mean_y = weights @ x / n, weights @ y / n
        covariance = weights @ (x * y) / n - mean_x * mean_y
        variances = (weights @ (x * x) / n - mean_x**2) * (weights @ (y * y) / n - mean_y**2)
        return _ratio(covariance, np.sqrt(np.where(variances > 1e-15, variances, 0)))

    return _estimate([1] * len(rows), weighted_r, seed)


def _to_unit(values: Floats) -> Floats:
    """Values shifted and scaled to [0, 1], for less rounding error: r does not change. A constant becomes 0."""
    shifted: Floats = values - values.min()
    return shifted / (shifted.max() or 1.0)


class Rater(FrozenModel):
    """A judge, or a vote over all judges of the study."""

    name: str
    is_vote: bool
    agreement: Agreement


class JudgeStudy(FrozenModel):
    """Agreement of all judges of a study, in their order, then of the votes, over `rows` labelled responses.

    `unsafe` rows are labelled unsafe. `left_out` rows have no label. `disagreements` counts rows on which some judge
    differs from the label or has no verdict. `published` is the paper's pilot study, on other responses. `differs` maps
    a judge with a published counterpart to the reason why the two are not the same judge.
    """

    data: str
    source: str
    part: Part = Field("response", exclude_if=lambda part: part == "response")
    rows: int
    unsafe: int
    left_out: int = Field(0, exclude_if=lambda rows: rows == 0)
    raters: tuple[Rater, ...]
    disagreements: int
    caveats: tuple[str, ...]
    published_by: str
    published: Pilot
    differs: Mapping[str, str] = {}

    @property
    def missing_verdicts(self) -> int:
        """Number of verdicts that judges could not give."""
        return sum(rater.agreement.missing for rater in self.raters if not rater.is_vote)


def rate(
    labels: Sequence[bool], judges: Mapping[str, Sequence[Verdict]], votes: Mapping[str, Sequence[bool | None]]
) -> tuple[Rater, ...]:
    """Each judge, then each vote, against the labels. All sequences are of the same rows in the same order."""
    rated = [
        Rater(
            name=name,
            is_vote=False,
            agreement=agreement([verdict.unsafe for verdict in verdicts], labels, _scores(verdicts)),
        )
        for name, verdicts in judges.items()
    ]
    rated += [Rater(name=name, is_vote=True, agreement=agreement(column, labels)) for name, column in votes.items()]
    return tuple(rated)


def _scores(verdicts: Sequence[Verdict]) -> list[float | None] | None:
    """The judge's scores, or None if it has none."""
    scores = [verdict.score for verdict in verdicts]
    return scores if any(score is not None for score in scores) else None
