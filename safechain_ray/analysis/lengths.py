"""Token lengths of safe and unsafe samples, and rank tests between them."""

from math import erfc, sqrt

import numpy as np
from pydantic import Field
from scipy.stats import mannwhitneyu

from safechain_ray.analysis.rows import MISSING, UNSAFE, Bools, Floats, Ints, SettingRows
from safechain_ray.metrics.intervals import Z_95, FrozenModel
from safechain_ray.types import Part


class LengthSummary(FrozenModel):
    """Lengths of `n` samples in tokens; None without samples."""

    n: int
    mean: float | None
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None


class RankTest(FrozenModel):
    """Lengths of unsafe samples against safe ones.

    `longer` is the common-language effect size: how often an unsafe sample is longer than a safe one, with ties counted
    half. `rank_biserial` is the same on [-1, 1]. `u` and `p_value` are the two-sided Mann-Whitney test with the normal
    approximation, which wrongly assumes that samples of one prompt are independent. `low`, `high` and
    `clustered_p_value` account for the clusters (Obuchowski 1997, Biometrics 53:567-578, the area under a ROC curve of
    clustered data). They are None with fewer than two prompts on a side, or without any spread.
    """

    u: float
    p_value: float
    longer: float
    rank_biserial: float
    low: float | None
    high: float | None
    clustered_p_value: float | None


class LengthComparison(FrozenModel):
    """Samples whose `part` one judge calls safe and unsafe, by the length of their thought or their answer."""

    judge: str
    part: Part
    tokens_of: Part = Field(description="thought or answer, whichever is measured")
    safe: LengthSummary
    unsafe: LengthSummary
    left_out: int = Field(description="samples without a verdict or without such tokens")
    test: RankTest | None = Field(description="None where no sample is safe, none unsafe, or all are equally long")


def length_comparison(rows: SettingRows, judge: str, part: Part, tokens_of: Part) -> LengthComparison:
    """Compare the samples of a setting by the verdicts of one judge on one part."""
    verdicts, tokens = rows.verdicts[judge, part], rows.tokens[tokens_of]
    known = (verdicts != MISSING) & ~np.isnan(tokens)
    tokens, unsafe = tokens[known], verdicts[known] == UNSAFE
    return LengthComparison(
        judge=judge,
        part=part,
        tokens_of=tokens_of,
        safe=_summary(tokens[~unsafe]),
        unsafe=_summary(tokens[unsafe]),
        left_out=int((~known).sum()),
        test=rank_test(tokens, unsafe, rows.prompts[known]) if _differ(unsafe) and _differ(tokens) else None,
    )


def rank_test(lengths: Floats, unsafe: Bools, prompts: Ints) -> RankTest:
    """Test lengths that are `unsafe` against the others, one value per sample.

    Both groups exist, and lengths differ.
    """
    long, short = lengths[unsafe], lengths[~unsafe]
    u, p_value = mannwhitneyu(long, short, method="asymptotic")
    longer = float(u) / (len(long) * len(short))
    error = _clustered_error(long, short, prompts[unsafe], prompts[~unsafe])
    return RankTest(
        u=float(u),
        p_value=float(p_value),
        longer=longer,
        rank_biserial=2 * longer - 1,
        low=None if error is None else max(0.0, longer - Z_95 * error),
        high=None if error is None else min(1.0, longer + Z_95 * error),
        clustered_p_value=None if error is None else erfc(abs(longer - 0.5) / error / sqrt(2)),
    )


def _differ(values: Bools | Floats) -> bool:
    return len(np.unique(values)) > 1


def _summary(lengths: Floats) -> LengthSummary:
    if not len(lengths):
        return LengthSummary(n=0, mean=None, lower_quartile=None, median=None, upper_quartile=None)
    lower, median, upper = np.quantile(lengths, (0.25, 0.5, 0.75)).tolist()
    return LengthSummary(
        n=len(lengths), mean=float(lengths.mean()), lower_quartile=lower, median=median, upper_quartile=upper
    )


def _clustered_error(long: Floats, short: Floats, long_prompts: Ints, short_prompts: Ints) -> float | None:
    """Standard error of `longer`, with the samples of a prompt as one cluster."""
    above = _share_below(long, short)
    below = 1 - _share_below(short, long)
    longer = above.mean()
    size = max(long_prompts.max(), short_prompts.max()) + 1
    of_long = np.bincount(long_prompts, above - longer, minlength=size)
    of_short = np.bincount(short_prompts, below - longer, minlength=size)
    with_long, with_short = len(np.unique(long_prompts)), len(np.unique(short_prompts))
    clusters = len(np.unique(np.concatenate([long_prompts, short_prompts])))
    if min(with_long, with_short) < 2:
        return None
    m, n = len(long), len(short)
    variance = (
        with_long / (with_long - 1) * (of_long**2).sum() / m**2
        + with_short / (with_short - 1) * (of_short**2).sum() / n**2
        + 2 * clusters / (clusters - 1) * (of_long * of_short).sum() / (m * n)
    )
    return sqrt(variance) if variance > 1e-12 else None


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each of `values`, the share of `others` that are smaller, with equal ones counted half."""
    ordered = np.sort(others)
    positions = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    shares: Floats = positions / (2 * len(others))
    return shares
