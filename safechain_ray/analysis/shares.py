"""The share of some samples among others, with an interval that knows which of them are of one prompt."""

from collections import Counter

import numpy as np

from safechain_ray.analysis.rows import Bools, Ints, SettingRows
from safechain_ray.metrics.intervals import Estimate, share_estimate


def share(rows: SettingRows, of: Bools, among: Bools) -> Estimate:
    """The share of samples `of` among the samples `among`, both together over all samples of the setting."""
    return clustered_share(rows.prompts, of, among, clustered=rows.samples > 1)


def clustered_share(prompts: Ints, of: Bools, among: Bools, *, clustered: bool) -> Estimate:
    """The same for samples whose prompts have these numbers: a ratio of sums over prompts.

    Its interval is bootstrapped over prompts, Wilson's where they are not `clustered` (K = 1). `n` counts the prompts
    that have a sample `among`; with none of them the value is None.
    """
    denominators = np.bincount(prompts[among])
    numerators = np.bincount(prompts[among & of], minlength=len(denominators))
    pairs = zip(numerators.tolist(), denominators.tolist(), strict=True)
    units = Counter(pair for pair in pairs if pair[1])
    return share_estimate(units, clustered=clustered, seed=0)
