"""95% intervals: Wilson's score interval, and the percentile bootstrap clustered by prompt."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import sqrt
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Method = Literal["bootstrap", "wilson"]
Floats = NDArray[np.float64]
Number = TypeVar("Number", int, Fraction)

RESAMPLES = 10_000
Z_95 = 1.959963984540054
_CELLS_AT_ONCE = 4_000_000


class FrozenModel(BaseModel):
    """Base class of figures: immutable, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(FrozenModel):
    """A figure with its 95% interval and `n`, the number of prompts (or rows) behind it.

    `value` is None if it is undefined. `low`, `high` and `method` are None if there is no interval.
    """

    value: float | None
    low: float | None
    high: float | None
    method: Method | None
    n: int


NOTHING = Estimate(value=None, low=None, high=None, method=None, n=0)


def wilson(share: float, n: int) -> tuple[float, float]:
    """Score interval of a share of `n` > 0 independent trials (Wilson 1927), within [0, 1] and around `share`."""
    z2 = Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def bootstrap(
    cells: Sequence[int], statistic: Callable[[Floats], Floats], seed: int, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Percentile interval of a statistic of units (prompts, rows) drawn with replacement.

    Equal units share a cell, and `cells` are the numbers of units per cell. A resample is one multinomial draw over the
    cells. It is equivalent to drawing units one by one. `statistic` maps weights of shape (resamples, cells) to
    (resamples,), with NaN for undefined values, which are dropped. Returns None if all are undefined.
    """
    sizes = np.asarray(cells, dtype=np.int64)
    units = int(sizes.sum())
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(sizes))
    drawn = [
        statistic(rng.multinomial(units, sizes / units, size=min(at_once, resamples - start)).astype(np.float64))
        for start in range(0, resamples, at_once)
    ]
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def share_estimate(units: Mapping[tuple[Number, int], int], *, clustered: bool, seed: int) -> Estimate:
    """The ratio of sums of (numerator, denominator) over units; `units` maps each pair to its number of units.

    The value is the double closest to the exact ratio. Unclustered units, and units that are all equal (a bootstrap
    would have no width), get Wilson's interval over the units. Others get the bootstrap.
    """
    n = sum(units.values())
    if n == 0:
        return NOTHING
    above = sum((numerator * count for (numerator, _), count in units.items()), Fraction(0))
    below = sum(denominator * count for (_, denominator), count in units.items())
    value = float(above / below)
    alike = len({numerator / denominator for numerator, denominator in units}) == 1
    if alike or not clustered:
        low, high = wilson(value, n)
        return Estimate(value=value, low=low, high=high, method="wilson", n=n)
    keys = sorted(units)
    numerators = np.array([float(numerator) for numerator, _ in keys])
    denominators = np.array([float(denominator) for _, denominator in keys])
    interval = bootstrap([units[key] for key in keys], lambda w: (w @ numerators) / (w @ denominators), seed)
    assert interval is not None  # every denominator is above 0
    low, high = interval
    return Estimate(value=value, low=min(low, value), high=max(high, value), method="bootstrap", n=n)
