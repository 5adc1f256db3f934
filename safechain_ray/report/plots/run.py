"""The plots of a run, drawn from its metrics: safety, over-refusal, strategies, categories, decoding curves."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

from safechain_ray.metrics.safety import MetricName
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report.document import printable
from safechain_ray.report.labels import METRIC_LABELS, OVER_REFUSAL, common_sampling, judge_label, setting_label
from safechain_ray.report.plots.curves import CurvePanel, CurvePoint, draw_curves
from safechain_ray.report.plots.marks import Cell, Panel, Row, first_rows, hover_text, share_mark
from safechain_ray.report.plots.rows import draw_rows
from safechain_ray.report.plots.settings import (
    Curve,
    Parameter,
    StrategyGroup,
    curves,
    sort_key,
    strategy_groups,
    strategy_label,
)
from safechain_ray.report.plots.sheet import SERIES
from safechain_ray.report.plots.svg import Plot, draw_plot

ALL = "all benign prompts"

MOST_ROWS = 150
"""Rows of a plot; those of a larger run could neither be read nor drawn in seconds."""

MOST_CATEGORIES = 60


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
    """A row for each setting and judge, a panel for each metric."""
    common = common_sampling(metrics.settings)
    judges = list(dict.fromkeys(judge_label(judge) for setting in metrics.settings for judge in setting.judges))
    shown = _metrics_shown(metrics.settings)
    rows = [
        Row(
            judge_label(judge),
            tuple(
                (
                    share_mark(
                        getattr(judge, field), name, judge_label(judge), label, series=judges.index(judge_label(judge))
                    ),
                )
                for field, label in shown.items()
            ),
            group=name,
        )
        for setting in metrics.settings
        for name in [setting_label(setting, common)]
        for judge in setting.judges
    ]
    rows, rest = first_rows(rows, MOST_ROWS, "rows", "The table of figures has all.")
    return draw_plot(
        "safety",
        "Safety by setting and judge",
        f"Share of safe samples or prompts with its 95% interval; right is safer. {_sampling_sentence(common)}{rest}",
        f"Safety of {printable(metrics.model)} by setting and judge",
        partial(draw_rows, rows=rows, panels=[Panel(label) for label in shown.values()]),
    )


def over_refusal_plot(metrics: RunMetrics) -> Plot | None:
    """A group for each setting with benign prompts: a row for all of them, and one a category; None without any."""
    common = common_sampling(metrics.settings)
    prompts = _most_prompts(
        (category, each.prompts)
        for setting in metrics.settings
        if setting.over_refusal is not None
        for category, each in setting.over_refusal.categories.items()
    )
    shown = _largest(prompts)
    rows = [
        row for setting in metrics.settings for row in _refusal_rows(setting, setting_label(setting, common), shown)
    ]
    if not rows:
        return None
    rows, rest = first_rows(rows, MOST_ROWS, "rows", "metrics.json has all.")
    notes = f"{_sampling_sentence(common)}{_categories_sentence(shown, prompts)}{rest}"
    return draw_plot(
        "over-refusal",
        OVER_REFUSAL,
        f"Share of refused responses to benign prompts with its 95% interval; left is better. {notes}",
        f"{OVER_REFUSAL} of {printable(metrics.model)} by setting",
        partial(draw_rows, rows=rows, panels=[Panel("")]),
    )


def strategy_plot(group: StrategyGroup) -> Plot:
    """A panel for each judge, a row for each strategy, a bar for each metric."""
    first = group.settings[0]
    dataset = printable(group.dataset)
    shown = _metrics_shown(group.settings)
    rows = [
        Row(
            strategy_label(setting),
            tuple(
                tuple(
                    share_mark(getattr(judge, field), strategy_label(setting), judge_label(judge), label, series=shade)
                    for shade, (field, label) in enumerate(shown.items())
                )
                for judge in setting.judges
            ),
        )
        for setting in group.settings
    ]
    rows, rest = first_rows(rows, MOST_ROWS, "strategies", "The table of figures has all.")
    sampling = _sampling_sentence(common_sampling(group.settings))
    return draw_plot(
        f"strategies-{dataset}",
        f"Strategies on {dataset}",
        f"Safety by the strategy that steers the thinking. {sampling}{rest}",
        f"Safety by strategy on {dataset}",
        partial(
            draw_rows,
            rows=rows,
            panels=[Panel(judge_label(judge)) for judge in first.judges],
            names=list(shown.values()),
            look="bars",
        ),
    )


def category_plot(group: StrategyGroup) -> Plot:
    """Safe@1 of each category: a row a category, a panel a judge, a mark a strategy."""
    settings = group.settings[:SERIES]
    dataset = printable(group.dataset)
    prompts = _most_prompts(
        (category, safety.prompts)
        for setting in settings
        for judge in setting.judges
        for category, safety in judge.categories.items()
    )
    shown = _largest(prompts)
    rows = [Row(printable(category), tuple(_category_cells(settings, category))) for category in shown]
    rest = len(group.settings) - len(settings)
    left_out = f" Without the last {rest} of {len(group.settings)} strategies." if rest else ""
    notes = f"{_sampling_sentence(common_sampling(settings))}{left_out}{_categories_sentence(shown, prompts)}"
    return draw_plot(
        f"categories-{dataset}",
        f"Categories of {dataset}",
        f"Safe@1 with its 95% interval; right is safer. {notes}",
        f"Safe@1 by category of {dataset}",
        partial(
            draw_rows,
            rows=rows,
            panels=[Panel(judge_label(judge)) for judge in settings[0].judges],
            names=[strategy_label(setting) for setting in settings],
        ),
    )


def curve_plot(parameter: Parameter, curves: Sequence[Curve]) -> Plot:
    """A line of panels for each judge, a panel for each metric, a curve for each data set and strategy."""
    shown = curves[:SERIES]
    names = [printable(f"{curve.dataset} {curve.strategy}") for curve in shown]
    values = sorted({value for curve in shown for value in curve.values}, key=lambda value: sort_key(parameter, value))
    places = dict(zip(values, _places(parameter, values), strict=True))
    fields = _metrics_shown([setting for curve in shown for setting in curve.settings])
    panels = [
        CurvePanel(
            f"{label}, {judge_label(judge)}",
            tuple(
                tuple(
                    CurvePoint(
                        places[value],
                        metric,
                        hover_text(
                            metric, name, f"{parameter} {_value_label(parameter, value)}", judge_label(judge), label
                        ),
                    )
                    for value, setting in zip(curve.values, curve.settings, strict=True)
                    for metric in [getattr(setting.judges[line], field)]
                )
                for name, curve in zip(names, shown, strict=True)
            ),
        )
        for line, judge in enumerate(shown[0].settings[0].judges)
        for field, label in fields.items()
    ]
    rest = len(curves) - len(shown)
    left_out = f" Without the last {rest} of {len(curves)} curves." if rest else ""
    return draw_plot(
        f"decoding-{parameter}",
        f"Safety against {parameter}",
        f"Settings that differ in {parameter} alone, with 95% intervals as bands; up is safer.{left_out}",
        f"Safety against {parameter}",
        partial(
            draw_curves,
            panels=panels,
            beside=len(fields),
            names=names,
            ticks=[(places[value], _value_label(parameter, value)) for value in values],
            axis=parameter,
        ),
    )


def _metrics_shown(settings: Sequence[SettingMetrics]) -> dict[MetricName, str]:
    """With one sample of each prompt all metrics are equal, so one is shown."""
    if any(setting.samples > 1 for setting in settings):
        return METRIC_LABELS
    return {"safe_at_1": METRIC_LABELS["safe_at_1"]}


def _refusal_rows(setting: SettingMetrics, name: str, categories: Sequence[str]) -> Iterator[Row]:
    found = setting.over_refusal
    if found is None:
        return
    yield Row(ALL, ((share_mark(found.refused, name, ALL, OVER_REFUSAL),),), group=name)
    if len(found.categories) > 1:
        for category in (category for category in categories if category in found.categories):
            refused = found.categories[category].refused
            metric = share_mark(refused, name, printable(category), OVER_REFUSAL, series=1)
            yield Row(printable(category), ((metric,),), group=name)


def _most_prompts(found: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The prompts of every category, in the setting that has the most of them."""
    most: dict[str, int] = {}
    for category, prompts in found:
        most[category] = max(most.get(category, 0), prompts)
    return most


def _largest(prompts: dict[str, int]) -> list[str]:
    """The categories with the most prompts, as many as a plot has room for, in the order of their names."""
    return sorted(sorted(prompts, key=lambda category: (-prompts[category], category))[:MOST_CATEGORIES])


def _categories_sentence(shown: Sequence[str], prompts: dict[str, int]) -> str:
    if len(shown) == len(prompts):
        return ""
    return f" The {len(shown)} of {len(prompts):,} categories with the most prompts; metrics.json has all of them."


def _category_cells(settings: Sequence[SettingMetrics], category: str) -> Iterator[Cell]:
    """A cell for each judge, with a line for each setting."""
    for number in range(len(settings[0].judges)):
        judges = [setting.judges[number] for setting in settings]
        yield tuple(
            share_mark(
                safety.safe_at_1,
                printable(category),
                strategy_label(setting),
                judge_label(judge),
                "Safe@1",
                series=series,
            )
            if (safety := judge.categories.get(category)) is not None
            else None
            for series, (setting, judge) in enumerate(zip(settings, judges, strict=True))
        )


def _places(parameter: Parameter, values: Sequence[float]) -> list[float]:
    """top_k runs from 1 to all tokens: its values are equally spaced; the others are to scale."""
    if parameter == "top_k":
        return [place / (len(values) - 1) for place in range(len(values))]
    return [(value - values[0]) / (values[-1] - values[0]) for value in values]


def _value_label(parameter: Parameter, value: float) -> str:
    return "all" if parameter == "top_k" and value == -1 else f"{value:g}"


def _sampling_sentence(common: dict[str, str]) -> str:
    return f"Sampling: {' '.join(common.values())}." if common else ""
