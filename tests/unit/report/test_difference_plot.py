"""The plot of differences: its scale, its figures, and both sides' figures beside them."""

import pytest

from safechain_ray.metrics.safety import PairedMeans
from safechain_ray.report.plots.comparison import DifferenceLine, difference_plot
from tests.unit.report.drawn import hovers, texts


def drawn(value: float | None, low: float | None, high: float | None) -> str:
    ends = {"value": value, "low": low, "high": high, "method": None if value is None else "bootstrap"}
    each = PairedMeans(**ends, n=9, first=0.5, second=0.54, left_out=0, p_value=None)
    return difference_plot("key", "b against a", [DifferenceLine("Benchmark", "pass@1", 0, each)]).wide


@pytest.mark.parametrize(
    ("high", "end"), [(0.05, "+10.0"), (0.2, "+25.0"), (0.4, "+50.0"), (0.9, "+100.0"), (1 + 1e-12, "+100.0")]
)
def test_the_scale_goes_as_far_as_the_intervals_do(high: float, end: str) -> None:
    assert end in texts(drawn(0.04, -0.01, high))


def test_a_difference_is_shown_with_both_figures_its_interval_and_the_number_of_prompts() -> None:
    svg = drawn(0.04, -0.01, 0.09)
    assert {"worse", "better", "+4.0", "50.0 → 54.0"} <= set(texts(svg))
    assert hovers(svg) == ["Benchmark; pass@1: 50.0 → 54.0, +4.0 (95% interval -1.0 to +9.0), n = 9"]


def test_an_undefined_difference_is_shown_as_none() -> None:
    svg = drawn(None, None, None)
    assert "none" in texts(svg)
    assert hovers(svg) == []
