"""The plots of a run, drawn from its metrics: safety, over-refusal, strategies, categories, decoding curves.

Settings share a plot if they can be compared: if they differ only in the strategy, or only in one parameter.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics, as_setting
from safechain_ray.report.document import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.elements import Markup, join
from safechain_ray.report.html.plot import GAP, WIDTH, Panel, Plot
from safechain_ray.report.labels import METRIC_LABELS, OVER_REFUSAL, common_sampling, judge_label, setting_label

Parameter = Literal["temperature", "top_p", "top_k"]

PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)

FEWEST_POINTS = 3
"""Two points make no curve; the other plots compare two settings."""


@dataclass(frozen=True, slots=True)
class StrategyGroup:
    """The settings of a data set under one sampling and K: they differ in the strategy alone."""

    dataset: str
    settings: tuple[SettingMetrics, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings that differ in `parameter` alone, in its order."""

    parameter: Parameter
    dataset: str
    strategy: str
    settings: tuple[SettingMetrics, ...]

    @property
    def values(self) -> list[float]:
        return [setting.sampling[self.parameter] for setting in self.settings]


def strategy_label(setting: SettingMetrics) -> str:
    """For example `morethink compat=paper`."""
    return printable(" ".join([setting.strategy, *as_setting(setting).strategy.words]))


def strategy_groups(metrics: RunMetrics) -> list[StrategyGroup]:
    """For each data set the sampling with the most strategies, the first one of equals."""
    by_sampling: defaultdict[str, defaultdict[Hashable, list[SettingMetrics]]] = defaultdict(lambda: defaultdict(list))
    for setting in metrics.settings:
        by_sampling[setting.dataset][_sampling_key(setting)].append(setting)
    return [
        max(
            (StrategyGroup(name, tuple(settings)) for settings in groups.values()),
            key=lambda group: len(group.settings),
        )
        for name, groups in by_sampling.items()
    ]


def curves(metrics: RunMetrics) -> list[Curve]:
    """Every curve of three settings or more, by parameter."""
    return [curve for parameter in PARAMETERS for curve in _curves(metrics, parameter)]


def sort_key(parameter: Parameter, value: float) -> float:
    """The value; a top_k of -1 means all tokens, more than any other."""
    return float("inf") if parameter == "top_k" and value == -1 else value


def _curves(metrics: RunMetrics, parameter: Parameter) -> Iterator[Curve]:
    groups: defaultdict[Hashable, list[SettingMetrics]] = defaultdict(list)
    for setting in metrics.settings:
        groups[setting.dataset, strategy_label(setting), _sampling_key(setting, without=parameter)].append(setting)
    for settings in groups.values():
        if len(settings) >= FEWEST_POINTS:
            ordered = sorted(settings, key=lambda setting: sort_key(parameter, setting.sampling[parameter]))
            yield Curve(parameter, settings[0].dataset, strategy_label(settings[0]), tuple(ordered))


def _sampling_key(setting: SettingMetrics, without: str = "") -> Hashable:
    others = tuple(sorted((key, value) for key, value in setting.sampling.items() if key != without))
    return setting.samples, others


ALL = "all benign prompts"

HEIGHT = 190.0

LINE = HEIGHT + 92

ROW, GROUP = 22.0, 26.0

LABEL_CHARACTERS = 44


def run_plots(metrics: RunMetrics) -> list[Plot]:
    """The plots for which the run has settings, in the order of the page."""
    plots = [safety_plot(metrics)] if any(setting.harmful_prompts for setting in metrics.settings) else []
    refusals = over_refusal_plot(metrics)
    plots += [] if refusals is None else [refusals]
    for group in strategy_groups(metrics):
        if len(group.settings) > 1:
            plots.append(strategy_plot(group))
        if any(len(judge.categories) > 1 for judge in group.settings[0].judges):
            plots.append(category_plot(group))
    for parameter, found in groupby(curves(metrics), lambda curve: curve.parameter):
        plots.append(curve_plot(parameter, list(found)))
    return plots


def safety_plot(metrics: RunMetrics) -> Plot:
    """A row for each setting and judge, a panel for each metric: every figure with its interval."""
    common = common_sampling(metrics.settings)
    judges = _judges(metrics)
    labels = [setting_label(setting, common) for setting in metrics.settings]
    left = min(300.0, max(plot.text_width(label) for label in [*labels, *judges]) + 34)
    shown = METRIC_LABELS if any(s.samples > 1 for s in metrics.settings) else {"safe_at_1": METRIC_LABELS["safe_at_1"]}
    height = sum(GROUP + ROW * len(setting.judges) for setting in metrics.settings)
    panels = _panels_beside(len(shown), left, 38.0, height)
    drawn: list[Markup | None] = []
    for panel, label in zip(panels, shown.values(), strict=True):
        drawn += [plot.text(panel.left, 14, label, "head"), plot.columns(panel)]
    y = panels[0].top
    for setting, name in zip(metrics.settings, labels, strict=True):
        drawn.append(plot.text(0, y + 17, name, "group", characters=LABEL_CHARACTERS))
        y += GROUP
        for judge in setting.judges:
            series = judges.index(judge_label(judge))
            drawn += [plot.mark(10, y + 7, series), plot.text(22, y + 11, judge_label(judge), "label")]
            for panel, (field, label) in zip(panels, shown.items(), strict=True):
                metric: Metric = getattr(judge, field)
                hover = plot.hover_text(metric, name, judge_label(judge), label)
                drawn.append(plot.point_along(panel, y + 7, metric, series, hover))
            y += ROW
    return Plot(
        "safety",
        "Safety by setting and judge",
        f"Share of safe samples or prompts with its 95% interval; right is safer. {_sampling_sentence(common)}",
        plot.picture(height + 62, f"Safety of {printable(metrics.model)} by setting and judge", join(drawn)),
    )


def over_refusal_plot(metrics: RunMetrics) -> Plot | None:
    """A group for each setting with benign prompts: a row for all of them, and one a category; None without any."""
    common = common_sampling(metrics.settings)
    groups = [(setting_label(setting, common), _refusal_lines(setting)) for setting in metrics.settings]
    groups = [(name, lines) for name, lines in groups if lines]
    if not groups:
        return None
    names = [name for name, _ in groups] + [label for _, lines in groups for label, _ in lines]
    left = min(340.0, max(map(plot.text_width, names)) + 34)
    height = sum(GROUP + ROW * len(lines) for _, lines in groups)
    panel = Panel(left, 24.0, WIDTH - left - 16, height)
    drawn: list[Markup | None] = [plot.columns(panel)]
    y = panel.top
    for name, lines in groups:
        drawn.append(plot.text(0, y + 17, name, "group", characters=52))
        y += GROUP
        for place, (label, metric) in enumerate(lines):
            drawn.append(plot.text(22, y + 11, label, "label", characters=44))
            hover = plot.hover_text(metric, name, label, OVER_REFUSAL)
            drawn.append(plot.point_along(panel, y + 7, metric, min(place, 1), hover))
            y += ROW
    sampling = f" Sampling: {' '.join(common.values())}." if common else ""
    return Plot(
        "over-refusal",
        OVER_REFUSAL,
        f"Share of refused responses to benign prompts with its 95% interval; left is better.{sampling}",
        plot.picture(height + 48, f"{OVER_REFUSAL} of {printable(metrics.model)} by setting", join(drawn)),
    )


def strategy_plot(group: StrategyGroup) -> Plot:
    """A panel for each judge, a group of bars for each strategy, a bar for each metric."""
    first = group.settings[0]
    dataset = printable(group.dataset)
    shown = METRIC_LABELS if first.samples > 1 else {"safe_at_1": METRIC_LABELS["safe_at_1"]}
    drawn: list[Markup | None] = [_shades(list(shown.values()))]
    top = 40.0
    for count, judge in enumerate(first.judges):
        panel = _panel_of_two(count, len(first.judges), top + 34, 200.0, 44.0, below=54.0)
        drawn += [plot.text(panel.left, panel.top - 24, judge_label(judge), "head"), plot.rows(panel)]
        step = panel.width / len(group.settings)
        wide = min(46.0, 0.78 * step / len(shown))
        for place, setting in enumerate(group.settings):
            start = panel.left + (place + 0.5) * step - wide * len(shown) / 2
            name = strategy_label(setting)
            drawn.append(
                plot.text(start + wide * len(shown) / 2, panel.bottom + 18, name, "label", "middle", int(step / 6))
            )
            for shade, (field, label) in enumerate(shown.items()):
                metric: Metric = getattr(setting.judges[count], field)
                hover = plot.hover_text(metric, name, judge_label(judge), label)
                drawn.append(plot.bar(panel, start + shade * wide + 1, wide - 2, metric, shade, hover))
    rows = (len(first.judges) + 1) // 2
    sampling = _sampling_sentence(common_sampling(group.settings))
    return Plot(
        f"strategies-{dataset}",
        f"Strategies on {dataset}",
        f"Safety by the strategy that steers the thinking. {sampling}",
        plot.picture(top + rows * 278 - 14, f"Safety by strategy on {dataset}", join(drawn)),
    )


def category_plot(group: StrategyGroup) -> Plot:
    """Safe@1 of each category: a row a category, a panel a judge, a mark a strategy."""
    settings = group.settings[: plot.SERIES]
    first = settings[0]
    dataset = printable(group.dataset)
    categories = sorted({category for setting in settings for judge in setting.judges for category in judge.categories})
    left = min(290.0, max(plot.text_width(printable(category)) for category in categories) + 16)
    row = 14.0 + 13.0 * len(settings)
    height = row * len(categories)
    names = [strategy_label(setting) for setting in settings]
    drawn: list[Markup | None] = [plot.legend(16, names, left)]
    per_line = min(3, len(first.judges))
    for count, judge in enumerate(first.judges):
        line, column = divmod(count, per_line)
        top = 66.0 + line * (height + 72)
        panel = _panels_beside(per_line, left, top, height)[column]
        drawn += [plot.text(panel.left, top - 10, judge_label(judge), "head"), plot.columns(panel)]
        for place, category in enumerate(categories):
            y = top + place * row
            if column == 0:
                words = printable(category)
                drawn.append(plot.text(0, y + row / 2 + 4, words, "label", characters=LABEL_CHARACTERS))
            for series, setting in enumerate(settings):
                safety = setting.judges[count].categories.get(category)
                if safety is None:
                    continue
                hover = plot.hover_text(
                    safety.safe_at_1, printable(category), names[series], judge_label(judge), "Safe@1"
                )
                at = y + row / 2 + 13.0 * (series - (len(settings) - 1) / 2)
                drawn.append(plot.point_along(panel, at, safety.safe_at_1, series, hover, figure=len(settings) < 3))
    rest = len(group.settings) - len(settings)
    left_out = f" Without the last {rest} of {len(group.settings)} strategies." if rest else ""
    lines = -(-len(first.judges) // per_line)
    return Plot(
        f"categories-{dataset}",
        f"Categories of {dataset}",
        f"Safe@1 with its 95% interval; right is safer. {_sampling_sentence(common_sampling(settings))}{left_out}",
        plot.picture(66 + lines * (height + 72) - 48, f"Safe@1 by category of {dataset}", join(drawn)),
    )


def curve_plot(parameter: Parameter, curves: Sequence[Curve]) -> Plot:
    """A line of panels for each judge, a panel for each metric, a curve for each data set and strategy."""
    shown = curves[: plot.SERIES]
    names = [printable(f"{curve.dataset} {curve.strategy}") for curve in shown]
    values = sorted({value for curve in shown for value in curve.values}, key=lambda value: sort_key(parameter, value))
    judges = [judge_label(judge) for judge in shown[0].settings[0].judges]
    many = any(setting.samples > 1 for curve in shown for setting in curve.settings)
    fields = METRIC_LABELS if many else {"safe_at_1": METRIC_LABELS["safe_at_1"]}
    width = (WIDTH - 48 - 16 - (GAP + 8) * (len(fields) - 1)) / len(fields)
    drawn: list[Markup | None] = [plot.legend(16, names, 48)]
    for line, judge in enumerate(judges):
        for column, (field, label) in enumerate(fields.items()):
            panel = Panel(48 + column * (width + GAP + 8), 66 + line * LINE, width, HEIGHT)
            drawn += [plot.text(panel.left, panel.top - 12, f"{label}, {judge}", "head"), plot.rows(panel, column == 0)]
            for value in values:
                x = _x(panel, parameter, value, values)
                drawn.append(plot.text(x, panel.bottom + 17, _value_label(parameter, value), "tick", "middle"))
            drawn.append(plot.text(panel.left + panel.width / 2, panel.bottom + 36, parameter, "label", "middle"))
            for series, curve in enumerate(shown):
                metrics = [getattr(setting.judges[line], field) for setting in curve.settings]
                places = [_x(panel, parameter, value, values) for value in curve.values]
                hovers = [
                    plot.hover_text(
                        metric, names[series], f"{parameter} {_value_label(parameter, value)}", judge, label
                    )
                    for metric, value in zip(metrics, curve.values, strict=True)
                ]
                drawn.append(plot.curve(panel, places, metrics, series, hovers))
    rest = len(curves) - len(shown)
    left_out = f" Without the last {rest} of {len(curves)} curves." if rest else ""
    return Plot(
        f"decoding-{parameter}",
        f"Safety against {parameter}",
        f"Settings that differ in {parameter} alone, with 95% intervals as bands; up is safer.{left_out}",
        plot.picture(66 + len(judges) * LINE - 40, f"Safety against {parameter}", join(drawn)),
    )


def _refusal_lines(setting: SettingMetrics) -> list[tuple[str, Metric]]:
    found = setting.over_refusal
    if found is None:
        return []
    by_category = [(printable(name), each.refused) for name, each in found.categories.items()]
    return [(ALL, found.refused), *(by_category if len(by_category) > 1 else ())]


def _x(panel: Panel, parameter: Parameter, value: float, values: Sequence[float]) -> float:
    """top_k runs from 1 to all tokens: its values are equally spaced; the others are to scale."""
    if parameter == "top_k":
        share = values.index(value) / (len(values) - 1)
    else:
        share = (value - values[0]) / (values[-1] - values[0])
    return panel.left + 14 + share * (panel.width - 28)


def _value_label(parameter: Parameter, value: float) -> str:
    return "all" if parameter == "top_k" and value == -1 else f"{value:g}"


def _judges(metrics: RunMetrics) -> list[str]:
    """Every judge and part of the run, each once."""
    return list(dict.fromkeys(judge_label(judge) for setting in metrics.settings for judge in setting.judges))


def _panels_beside(count: int, left: float, top: float, height: float) -> list[Panel]:
    width = (WIDTH - left - 16 - GAP * (count - 1)) / count
    return [Panel(left + place * (width + GAP), top, width, height) for place in range(count)]


def _panel_of_two(count: int, total: int, top: float, height: float, left: float, below: float) -> Panel:
    """Two panels in a line; a single panel takes the whole line."""
    line, column = divmod(count, 2)
    width = WIDTH - left - 8 if total == 1 else (WIDTH - 2 * left - GAP) / 2
    return Panel(left + column * (width + left + GAP), top + line * (height + below + 24), width, height)


def _shades(names: list[str]) -> Markup:
    """The legend of bars."""

    def drawn() -> Iterator[Markup]:
        x = 44.0
        for shade, name in enumerate(names):
            yield plot.swatch(x, 16, shade)
            yield plot.text(x + 18, 16, name, "key")
            x += 46 + plot.text_width(name)

    return join(drawn())


def _sampling_sentence(common: dict[str, str]) -> str:
    return f"Sampling: {' '.join(common.values())}." if common else ""
