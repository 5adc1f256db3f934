"""Paired comparison of two settings on the same prompts: differences of a metric, McNemar's test, Holm's correction."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from safechain_ray.metrics.counts import PromptCounts
from safechain_ray.metrics.intervals import NOTHING, Estimate, bootstrap, wilson
from safechain_ray.metrics.safety import PROMPT_VALUES, MetricName


class PairedMeans(Estimate):
    """The second mean minus the first, in [-1, 1], over the `n` prompts with both values.

    `first` and `second` are the means over these prompts; `left_out` counts the other prompts. `p_value` is McNemar's
    exact two-sided test, for one sample per prompt on both sides.
    """

    first: float | None
    second: float | None
    left_out: int
    p_value: float | None


class PairedDifference(PairedMeans):
    """The second setting's metric minus the first's."""

    metric: MetricName


def paired_difference(
    metric: MetricName,
    first: Sequence[PromptCounts],
    second: Sequence[PromptCounts],
    samples: tuple[int, int],
    seed: int = 0,
) -> PairedDifference:
    """Compare two settings prompt by prompt. `samples` is K of each."""
    value_of = PROMPT_VALUES[metric]
    values = [
        {prompt.prompt_id: value_of(prompt.safe, prompt.unsafe, count) for prompt in prompts}
        for prompts, count in zip((first, second), samples, strict=True)
    ]
    return PairedDifference(**paired_means(*values, single=samples == (1, 1), seed=seed).model_dump(), metric=metric)


def paired_means(
    first: Mapping[str, Fraction | None], second: Mapping[str, Fraction | None], *, single: bool, seed: int = 0
) -> PairedMeans:
    """Compare the values of prompts by id; None is a prompt without a value. `single`: each value is of one sample."""
    differences: Counter[Fraction] = Counter()
    sums = [Fraction(0), Fraction(0)]
    for prompt_id, after in second.items():
        before = first.get(prompt_id)
        if before is not None and after is not None:
            differences[after - before] += 1
            sums[0] += before
            sums[1] += after
    n = differences.total()
    p_value = mcnemar(differences[Fraction(-1)], differences[Fraction(1)]) if n and single else None
    estimate = _mean_difference({key: count for key, count in differences.items() if count}, n, seed)
    means = [float(total / n) if n else None for total in sums]
    return PairedMeans(
        **estimate.model_dump(),
        first=means[0],
        second=means[1],
        left_out=len(first.keys() | second.keys()) - n,
        p_value=p_value,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of McNemar's test from the two counts of discordant prompts (a sign test at 1/2)."""
    discordant = only_first + only_second
    term = tail = 1
    for i in range(min(only_first, only_second)):
        term = term * (discordant - i) // (i + 1)
        tail += term
    p_value: float = 2 * tail / 2**discordant
    return min(1.0, p_value)


def _mean_difference(differences: dict[Fraction, int], n: int, seed: int) -> Estimate:
    if n == 0:
        return NOTHING
    value = float(sum((difference * count for difference, count in differences.items()), Fraction(0)) / n)
    if len(differences) == 1:
        _, others = wilson(0.0, n)  # at most this share of prompts may differ otherwise, each by -1 to 1
        low, high = value * (1 - others) - others, value * (1 - others) + others
        return Estimate(value=value, low=low, high=high, method="wilson", n=n)
    keys = sorted(differences)
    steps = np.array([float(key) for key in keys])
    interval = bootstrap([differences[key] for key in keys], lambda weights: weights @ steps / n, seed)
    assert interval is not None  # a mean is always defined
    low, high = interval
    return Estimate(value=value, low=min(low, value), high=max(high, value), method="bootstrap", n=n)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values of a family of tests (Holm 1979), in their order; None where there was no test.

    They bound the chance of any false finding in the family.
    """
    tests = sorted((p_value, place) for place, p_value in enumerate(p_values) if p_value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p_value, place) in enumerate(tests):
        largest = max(largest, min(1.0, p_value * (len(tests) - rank)))
        adjusted[place] = largest
    return adjusted
