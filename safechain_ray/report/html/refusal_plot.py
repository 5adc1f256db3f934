"""Over-refusal as a plot: for each setting the share of refused benign prompts, all of them and by category."""

from safechain_ray.metrics.safety import Metric
from safechain_ray.metrics.summary import RunMetrics, SettingMetrics
from safechain_ray.report.escape import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.markup import Markup, join
from safechain_ray.report.html.plot import WIDTH, Panel, Plot
from safechain_ray.report.labels import OVER_REFUSAL, common_sampling, setting_label

ROW, GROUP = 22.0, 26.0
ALL = "all benign prompts"


def over_refusal_plot(metrics: RunMetrics) -> Plot | None:
    """A group for each setting with benign prompts: a row for all of them, and one a category; None without any."""
    common = common_sampling(metrics.settings)
    groups = [(setting_label(setting, common), _lines(setting)) for setting in metrics.settings]
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
            told = plot.told(metric, name, label, OVER_REFUSAL)
            drawn.append(plot.point_along(panel, y + 7, metric, min(place, 1), told))
            y += ROW
    sampling = f" Sampling: {' '.join(common.values())}." if common else ""
    return Plot(
        "over-refusal",
        OVER_REFUSAL,
        f"Share of refused responses to benign prompts with its 95% interval; left is better.{sampling}",
        plot.picture(height + 48, f"{OVER_REFUSAL} of {printable(metrics.model)} by setting", join(drawn)),
    )


def _lines(setting: SettingMetrics) -> list[tuple[str, Metric]]:
    found = setting.over_refusal
    if found is None:
        return []
    by_category = [(printable(name), each.refused) for name, each in found.categories.items()]
    return [(ALL, found.refused), *(by_category if len(by_category) > 1 else ())]
