"""The tables of the page: what became of the samples, what the judges say of them."""

from safechain_ray.metrics.counts import OUTCOMES
from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics
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
