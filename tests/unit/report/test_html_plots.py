"""The plots of the HTML report: which a run has, and that they draw the figures of metrics.json."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.html.plot import figure
from safechain_ray.report.html.plots import curves, run_plots, strategy_groups
from safechain_ray.types import Setting
from tests.made_runs.by_samples import ASKED, setting, varied

STRATEGIES = tuple(setting(name) for name in ("default", "zerothink", "lessthink"))
GRID = (
    *(setting(temperature=value) for value in (0.2, 0.6, 1.0)),
    *(setting(top_p=value) for value in (0.5, 0.8)),
    *(setting(top_k=value) for value in (1, 50)),
)


def measured(*settings: Setting) -> RunMetrics:
    return summarise(count_samples(varied(settings, 12)), settings, ASKED)


def titles(svg: str) -> list[str]:
    """The hover texts of its parts."""
    name = "{http://www.w3.org/2000/svg}"
    return [each.find(f"{name}title").text or "" for each in ElementTree.fromstring(svg).iter(f"{name}g")]


def test_strategies_are_compared_under_one_sampling():
    (group,) = strategy_groups(measured(*GRID, *STRATEGIES[1:]))
    assert [each.strategy for each in group.settings] == ["default", "zerothink", "lessthink"]
    assert len({each.sampling["temperature"] for each in group.settings}) == 1


def test_a_curve_holds_settings_that_differ_in_one_parameter_alone_in_its_order():
    found = {curve.parameter: curve.values for curve in curves(measured(*reversed(GRID)))}
    assert found == {"temperature": [0.2, 0.6, 1.0], "top_p": [0.5, 0.8, 0.95], "top_k": [1, 50, -1]}


def test_two_settings_make_no_curve():
    assert curves(measured(*GRID[:2])) == []


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ([setting()], ["safety", "categories-small"]),
        (STRATEGIES, ["safety", "strategies-small", "categories-small"]),
        (GRID, ["safety", "categories-small", "decoding-temperature", "decoding-top_p", "decoding-top_k"]),
    ],
)
def test_a_run_has_the_plots_that_its_settings_allow(settings: tuple[Setting, ...], keys: list[str]):
    assert [plot.key for plot in run_plots(measured(*settings))] == keys


def test_every_figure_of_metrics_json_is_in_the_plot_of_safety():
    metrics = measured(*STRATEGIES)
    (plot, *_) = run_plots(metrics)
    hovers = titles(plot.svg)
    for each in metrics.settings:
        for judge in each.judges:
            for label, metric in (("Safe@1", judge.safe_at_1), ("ConsSafe@K", judge.cons_safe_at_k)):
                value, low, high = (f"{100 * end:.1f}" for end in (metric.value, metric.low, metric.high))
                assert (
                    f"small {each.strategy}; {judge.judge}, {judge.part}; {label}: {value}% "
                    f"(95% interval {low} to {high}), {metric.n} prompts"
                ) in hovers


def test_a_mark_is_at_its_value():
    metrics = measured(setting(samples=1))
    plot = run_plots(metrics)[0]
    name = "{http://www.w3.org/2000/svg}"
    picture = ElementTree.fromstring(plot.svg)
    lines = [float(line.get("x1")) for line in picture.iter(f"{name}line") if line.get("class") == "grid"]
    (mark,) = [
        group.find(f"{name}circle") for group in picture.iter(f"{name}g") if group.find(f"{name}circle") is not None
    ]
    left, right = min(lines), max(lines)
    value = metrics.settings[0].judges[0].safe_at_1.value
    assert (float(mark.get("cx")) - left) / (right - left) == pytest.approx(value, abs=1e-4)


def test_verdicts_that_are_all_missing_draw_no_mark():
    of = setting()
    metrics = summarise(count_samples([]), [of], ASKED, {"small": 3})
    for plot in run_plots(metrics):
        assert titles(plot.svg) == []


def test_every_plot_is_well_formed_and_described_in_words(tmp_path: Path):
    for plot in run_plots(measured(*GRID, *STRATEGIES[1:])):
        root = ElementTree.fromstring(figure(plot))
        (svg,) = root.iter("{http://www.w3.org/2000/svg}svg")
        assert svg.get("role") == "img"
        assert svg.get("aria-label")
        assert [button.get("data-save") for button in root.iter("button")] == ["svg", "png"]
