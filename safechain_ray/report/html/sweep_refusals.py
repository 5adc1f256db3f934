"""Over-refusal in a sweep's report: every model in every setting that has benign prompts."""

from collections.abc import Mapping, Sequence

from safechain_ray.metrics.refusals import RefusalMetrics
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.labels import (
    NO_FIGURE,
    OVER_REFUSAL,
    common_sampling,
    over_refusal_legend,
    percent,
    setting_label,
)


def over_refusal_board(runs: Sequence[tuple[RunMetrics, Markup]]) -> Markup | None:
    """The table, in the order of the sweep; each run with the link that names it. None without a benign prompt."""
    settings = [setting for run, _ in runs for setting in run.settings]
    common = common_sampling(settings)
    names = dict.fromkeys(setting_label(each, common) for each in settings if each.over_refusal is not None)
    if not names:
        return None
    found: list[Mapping[str, RefusalMetrics | None]] = [
        {setting_label(setting, common): setting.over_refusal for setting in run.settings} for run, _ in runs
    ]
    heads = [element("th", name, scope="col", class_="number") for name in names]
    rows = [
        element("tr", element("th", link, scope="row"), [_cell(figures.get(name)) for name in names])
        for (_, link), figures in zip(runs, found, strict=True)
    ]
    drawn = element(
        "table",
        element("caption", OVER_REFUSAL),
        element("thead", element("tr", element("th", "Model", scope="col"), heads)),
        element("tbody", rows),
    )
    return join(
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=OVER_REFUSAL),
        element("p", over_refusal_legend(settings), class_="legend"),
    )


def _cell(figures: RefusalMetrics | None) -> Markup:
    if figures is None:
        return element("td", NO_FIGURE, class_="number")
    refused = figures.refused
    value = "none" if refused.value is None else percent(refused.value)
    interval = None
    if refused.low is not None and refused.high is not None:
        interval = element("span", f"{percent(refused.low)}–{percent(refused.high)}", class_="interval")
    return element("td", element("strong", value), interval, class_="number")
