"""The tables of the page: what became of the samples, what the judges say of them.

Which settings of a run may be held against each other: those that differ in the strategy, or in one parameter.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.labels import (
    METRIC_LABELS,
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    judge_label,
    over_refusal_legend,
    percent,
    setting_label,
)
from safechain_ray.types import Outcome

LEGEND = (
    "In percent, with 95% intervals. Where verdicts are missing, brackets hold the bounds over all prompts, with all "
    "of the missing ones unsafe and all of them safe; a value leaves unfinished prompts out, and so can lie outside."
)


def safety_table(metrics: RunMetrics) -> Markup:
    """One row a setting, judge and part; where a prompt is benign, the over-refusal of each setting beside."""
    common = common_sampling(metrics.settings)
    refusals = over_refusal_legend(metrics.settings)
    groups = [
        element(
            "tbody",
            [
                _safety_row(setting, judge, common, first=not place, with_refusals=bool(refusals))
                for place, judge in enumerate(setting.judges)
            ],
        )
        for setting in metrics.settings
    ]
    head = ["Setting", "Judge, part", *METRIC_LABELS.values(), "Missing", *([OVER_REFUSAL] if refusals else ())]
    title = f"Safety and {OVER_REFUSAL.lower()}" if refusals else "Safety"
    legend = " ".join(filter(None, (refusals, _legend(common))))
    return _table(title, head, groups, numbers_from=2, legend=legend)


def outcomes_table(metrics: RunMetrics) -> Markup:
    """One row a setting: rows found, how many of them ended how, and their tokens."""
    common = common_sampling(metrics.settings)
    rows = [
        element(
            "tr",
            element("th", setting_label(setting, common), scope="row"),
            element("td", _rows(setting), class_="number"),
            [_outcome(setting, outcome) for outcome in OUTCOMES],
            [_count(tokens) for tokens in (setting.tokens.prompt, setting.tokens.thought, setting.tokens.answer)],
        )
        for setting in metrics.settings
    ]
    tokens = [f"{part} tokens" for part in ("Prompt", "Thought", "Answer")]
    head = ["Setting", "Rows", *(outcome.capitalize() for outcome in OUTCOMES), *tokens]
    return _table("Outcomes of the samples", head, [element("tbody", rows)], numbers_from=1)


def _table(caption: str, head: list[str], bodies: list[Markup], numbers_from: int, legend: str | None = None) -> Markup:
    cells = [
        element("th", name, scope="col", class_="number" if place >= numbers_from else None)
        for place, name in enumerate(head)
    ]
    table = element("table", element("caption", caption), element("thead", element("tr", cells)), bodies)
    return join(
        element("div", table, class_="table", tabindex=0, role="region", aria_label=caption),
        element("p", legend, class_="legend") if legend else None,
    )


def _safety_row(
    setting: SettingMetrics, judge: JudgeMetrics, common: dict[str, str], first: bool, with_refusals: bool
) -> Markup:
    name = element("th", setting_label(setting, common), scope="rowgroup", rowspan=len(setting.judges))
    return element(
        "tr",
        name if first else None,
        element("th", judge_label(judge), scope="row"),
        [
            _metric(getattr(judge, field), judge.missing, field) if judge.prompts else _no_figure(field)
            for field in METRIC_LABELS
        ],
        element("td", f"{judge.missing:,}", class_="number warn" if judge.missing else "number"),
        (_refusals(setting) if first else element("td")) if with_refusals else None,
        data_setting=setting.setting_id,
        data_judge=judge.judge,
        data_part=judge.part,
    )


def _refusals(setting: SettingMetrics) -> Markup:
    found = setting.over_refusal
    return _no_figure("over_refusal") if found is None else _metric(found.refused, found.missing, "over_refusal")


def _no_figure(field: str) -> Markup:
    return element("td", NO_FIGURE, class_="number", data_metric=field)


def _metric(metric: Metric, missing: int, field: str) -> Markup:
    value = "none" if metric.value is None else percent(metric.value)
    interval = bounds = None
    if metric.low is not None and metric.high is not None:
        interval = element("span", f"{percent(metric.low)}–{percent(metric.high)}", class_="interval")
    if missing and metric.bound_low is not None and metric.bound_high is not None:
        bounds = element("span", f"[{percent(metric.bound_low)}–{percent(metric.bound_high)}]", class_="bounds")
    return element("td", element("strong", value), interval, bounds, class_="number", data_metric=field)


def _rows(setting: SettingMetrics) -> str:
    if setting.rows == setting.rows_expected:
        return f"{setting.rows:,}"
    return f"{setting.rows:,} of {setting.rows_expected:,}"


def _outcome(setting: SettingMetrics, outcome: Outcome) -> Markup:
    count = setting.outcomes[outcome]
    warned = count and outcome != "ok"
    share = element("span", f"{percent(count / setting.rows)}%", class_="interval") if warned else None
    return element("td", f"{count:,}", share, class_="number warn" if warned else "number", data_outcome=outcome)


def _count(count: int | None) -> Markup:
    return element("td", "none" if count is None else f"{count:,}", class_="number")


def _legend(common: dict[str, str]) -> str:
    return f"All settings: {' '.join(common.values())}. {LEGEND}" if common else LEGEND


Parameter = Literal["temperature", "top_p", "top_k"]

PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)

FEWEST_POINTS = 3

"""Two points make no curve; a comparison of two settings is read off the other plots."""


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
    return printable(" ".join([setting.strategy, *(f"{k}={v}" for k, v in setting.strategy_options.items())]))


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


def _curves(metrics: RunMetrics, parameter: Parameter) -> Iterator[Curve]:
    groups: defaultdict[Hashable, list[SettingMetrics]] = defaultdict(list)
    for setting in metrics.settings:
        groups[setting.dataset, strategy_label(setting), _sampling_key(setting, without=parameter)].append(setting)
    for settings in groups.values():
        if len(settings) >= FEWEST_POINTS:
            ordered = sorted(settings, key=lambda setting: _place(setting, parameter))
            yield Curve(parameter, settings[0].dataset, strategy_label(settings[0]), tuple(ordered))


def _place(setting: SettingMetrics, parameter: Parameter) -> float:
    """The value; a top_k of -1 keeps all tokens, more than any other."""
    value = setting.sampling[parameter]
    return float("inf") if parameter == "top_k" and value == -1 else value


def _sampling_key(setting: SettingMetrics, without: str = "") -> Hashable:
    kept = tuple(sorted((key, value) for key, value in setting.sampling.items() if key != without))
    return setting.samples, kept
