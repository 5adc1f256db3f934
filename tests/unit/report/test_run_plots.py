"""The plots of a run: which a run has, and that they draw the figures of metrics.json at both widths."""

from xml.etree import ElementTree

import pytest

from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.html.figure import figure
from safechain_ray.report.plots.run import MOST_CATEGORIES, run_plots, safety_plot
from safechain_ray.report.plots.settings import curves, strategy_groups
from safechain_ray.types import Setting
from tests.made_runs.by_samples import ASKED, setting, varied
from tests.unit.report.drawn import SVG, ends_of, gridlines, hovers, points, texts

STRATEGIES = tuple(setting(name) for name in ("default", "zerothink", "lessthink"))
GRID = (
    *(setting(temperature=value) for value in (0.2, 0.6, 1.0)),
    *(setting(top_p=value) for value in (0.5, 0.8)),
    *(setting(top_k=value) for value in (1, 50)),
)
WIDTHS = ("wide", "narrow")


def measured(*settings: Setting) -> RunMetrics:
    return summarise(count_samples(varied(settings, 12)), settings, ASKED)


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


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_of_metrics_json_is_in_the_plot_of_safety(width: str):
    metrics = measured(*STRATEGIES)
    (plot, *_) = run_plots(metrics)
    shown = hovers(getattr(plot, width))
    values = texts(getattr(plot, width), "value")
    for each in metrics.settings:
        for judge in each.judges:
            for label, metric in (("Safe@1", judge.safe_at_1), ("ConsSafe@K", judge.cons_safe_at_k)):
                value, low, high = (f"{100 * end:.1f}" for end in (metric.value, metric.low, metric.high))
                assert (
                    f"small {each.strategy}; {judge.judge}, {judge.part}; {label}: {value}% "
                    f"(95% interval {low} to {high}), {metric.n} prompts"
                ) in shown
                assert value in values


@pytest.mark.parametrize("width", WIDTHS)
def test_marks_are_at_their_values_and_lines_at_their_intervals(width: str):
    metrics = measured(setting(samples=1))
    svg = getattr(run_plots(metrics)[0], width)
    left, *_, right = sorted(gridlines(svg))
    drawn = dict(points(svg))
    for judge in metrics.settings[0].judges:
        (group,) = (
            group
            for hover, group in drawn.items()
            if f"; {judge.judge}, {judge.part};" in hover
            for group in [drawn[hover]]
        )
        (mark,) = group.iter(f"{SVG}use")
        (line,) = (path for path in group.iter(f"{SVG}path") if path.get("class") == "interval")
        shares = [(x - left) / (right - left) for x in (*ends_of(line.get("d", "")), float(mark.get("x", "")))]
        metric = judge.safe_at_1
        assert shares == pytest.approx([metric.low, metric.high, metric.value], abs=5e-4)


def test_series_differ_by_their_shapes_and_not_by_colour_alone():
    root = ElementTree.fromstring(run_plots(measured(setting()))[0].wide)
    marks = {(use.get("href"), use.get("fill")) for use in root.iter(f"{SVG}use")}
    assert len(marks) == len({shape for shape, _ in marks}) == len({colour for _, colour in marks}) == len(ASKED)


def test_verdicts_that_are_all_missing_draw_no_mark():
    of = setting()
    metrics = summarise(count_samples([]), [of], ASKED, {"small": 3})
    for plot in run_plots(metrics):
        assert hovers(plot.wide) == []
        assert "none" in texts(plot.wide)


def test_every_plot_is_described_in_words_and_has_both_widths_and_buttons():
    for plot in run_plots(measured(*GRID, *STRATEGIES[1:])):
        root = ElementTree.fromstring(figure(plot))
        pictures = list(root.iter(f"{SVG}svg"))
        assert [picture.get("class") for picture in pictures] == ["wide", "narrow"]
        assert {picture.get("role") for picture in pictures} == {"img"}
        assert all(picture.get("aria-label") == picture.findtext(f"{SVG}title") != "" for picture in pictures)
        assert [button.get("data-save") for button in root.iter("button")] == ["svg", "png"]


def test_of_ten_thousand_categories_the_largest_are_drawn_and_the_caption_counts_them():
    metrics = measured(setting())
    (of_setting,) = metrics.settings
    judges = []
    for judge in of_setting.judges:
        (some, *_) = judge.categories.values()
        many = {f"category {number:05}": some.model_copy(update={"prompts": number}) for number in range(10_000)}
        judges.append(judge.model_copy(update={"categories": many}))
    large = metrics.model_copy(update={"settings": (of_setting.model_copy(update={"judges": tuple(judges)}),)})
    _, plot = run_plots(large)
    assert texts(plot.wide, "label") == [f"category {number:05}" for number in range(10_000 - MOST_CATEGORIES, 10_000)]
    assert plot.caption.endswith("The 60 of 10,000 categories with the most prompts; metrics.json has all of them.")
    assert len(plot.wide) < 200_000


def test_of_many_settings_the_first_rows_are_drawn_and_the_caption_counts_them():
    metrics = measured(setting())
    large = metrics.model_copy(update={"settings": metrics.settings * 100})
    plot = safety_plot(large)
    assert len(texts(plot.wide, "label")) == 150
    assert plot.caption.endswith("The first 150 of 300 rows. The table of figures has all.")
