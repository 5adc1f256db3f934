"""The scale of a plot of differences."""

import pytest

from safechain_ray.metrics.safety import PairedMeans
from safechain_ray.report.html.comparison import DifferenceLine, difference_plot


def drawn(value: float | None, low: float | None, high: float | None) -> str:
    ends = {"value": value, "low": low, "high": high, "method": None if value is None else "bootstrap"}
    each = PairedMeans(**ends, n=9, first=0.5, second=0.5, left_out=0, p_value=None)
    return difference_plot("key", "b against a", [DifferenceLine("Benchmark", "pass@1", 0, each)]).svg


@pytest.mark.parametrize(
    ("high", "end"), [(0.05, "+10.0"), (0.2, "+25.0"), (0.4, "+50.0"), (0.9, "+100.0"), (1 + 1e-12, "+100.0")]
)
def test_the_scale_goes_as_far_as_the_intervals_do(high: float, end: str) -> None:
    assert f">{end}</text>" in drawn(0.04, -0.01, high)


def test_an_undefined_difference_is_shown_as_none() -> None:
    assert ">none</text>" in drawn(None, None, None)
