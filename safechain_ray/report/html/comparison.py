"""The page that compares models: the models side by side, plots of their differences, tables of differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.metrics.benchmark import BenchmarkComparison
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.paired import PairedMeans
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.compared_models import differences, side_by_side
from safechain_ray.report.escape import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.document import caveats_and_notes, html_table
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.page import Section, assemble
from safechain_ray.report.html.plot import WIDTH, Panel, Plot, figure
from safechain_ray.report.labels import METRIC_LABELS, common_sampling, percent, points, setting_label

ROW, GROUP, RIGHT = 24.0, 28.0, 150.0
LIMITS = (0.1, 0.25, 0.5, 1.0)
"""Possible ends of the scale on both sides; the plot takes the first one that is enough."""

SAFETY, BENCHMARKS = 0, 1
"""The series of plots: a colour and a mark for each kind of figure."""

COMPLETE = "Everything that one model was asked the other was asked too."


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """One line of the plot: a figure of both models, in its group. A `series` has a colour and a mark."""

    group: str
    label: str
    series: int
    difference: PairedMeans


def comparison_page(compared: ComparedModels, stand_ins: StandIns | None) -> str:
    """The baseline is the first model; with `stand_ins`, published figures are shown beside."""
    document = differences(compared)
    models = side_by_side(compared, published_figures(), stand_ins)
    sections = [
        Section("first", "To know first", caveats_and_notes(document, COMPLETE)),
        *([] if models is None else [Section("models", "Models", html_table(models))]),
        Section("plots", "What differs", join(map(figure, _plots(compared)))),
        Section("differences", "Differences", join(map(html_table, document.tables))),
    ]
    baseline, *others = map(printable, compared.names)
    return assemble(f"{', '.join(others)} against {baseline}", _line(compared), sections)


def _line(compared: ComparedModels) -> str:
    counts = [f"{len(compared.names)} models"]
    if compared.safety is not None:
        settings = {pair.second.setting_id for pair in compared.safety.pairs}
        counts.append(f"{len(settings)} setting{'s' if len(settings) > 1 else ''}")
    if compared.benchmarks is not None:
        benchmarks = {each.benchmark for each in compared.benchmarks.differences}
        counts.append(f"{len(benchmarks)} benchmark{'s' if len(benchmarks) > 1 else ''}")
    return " · ".join(counts)


def _plots(compared: ComparedModels) -> Iterator[Plot]:
    """One for each model beside the baseline."""
    found = [] if compared.safety is None else list(_of_safety(compared.safety))
    found += [] if compared.benchmarks is None else list(_of_benchmarks(compared.benchmarks))
    for number, model in enumerate(compared.names[1:]):
        lines = [line for name, line in found if name == model]
        if lines:
            title = f"{printable(model)} against {printable(compared.names[0])}"
            yield difference_plot(f"differences-{number}", title, lines)


def _of_safety(comparison: Comparison) -> Iterator[tuple[str, DifferenceLine]]:
    common = common_sampling([setting for pair in comparison.pairs for setting in (pair.first, pair.second)])
    for pair in comparison.pairs:
        for judge in pair.judges:
            group = f"{setting_label(pair.second, common)}; {printable(judge.judge)}, {judge.part}"
            for each in judge.differences:
                yield pair.run, DifferenceLine(group, METRIC_LABELS[each.metric], SAFETY, each)


def _of_benchmarks(comparison: BenchmarkComparison) -> Iterator[tuple[str, DifferenceLine]]:
    for each in comparison.differences:
        yield each.run, DifferenceLine(printable(each.benchmark), f"pass@{each.k}", BENCHMARKS, each)


def difference_plot(key: str, title: str, lines: Sequence[DifferenceLine]) -> Plot:
    """The lines in their groups: the difference with its interval, and both figures at the right."""
    widths = [max(plot.text_width(line.label) + 22, plot.text_width(line.group)) for line in lines]
    left = min(360.0, max(widths) + 20)
    groups = [(name, list(found)) for name, found in groupby(lines, lambda line: line.group)]
    panel = Panel(left, 34.0, WIDTH - left - RIGHT, GROUP * len(groups) + ROW * len(lines))
    limit = _limit(lines)
    drawn: list[Markup | None] = [
        plot.text(panel.left, 14, "worse", "tick"),
        plot.text(panel.right, 14, "better", "tick", "end"),
        plot.text(WIDTH, 14, "baseline → other", "tick", "end"),
        _scale(panel, limit),
    ]
    y = panel.top
    for name, found in groups:
        drawn.append(plot.text(0, y + 19, name, "group", characters=48))
        y += GROUP
        for line in found:
            drawn += [plot.mark(10, y + 7, line.series), plot.text(22, y + 11, line.label, "label", characters=46)]
            drawn += _difference_line(panel, y + 7, limit, line)
            y += ROW
    return Plot(
        key,
        title,
        "The paired difference in points with its 95% interval, which is not widened for the number of comparisons. "
        "Right is better.",
        plot.picture(panel.bottom + 28, title, join(drawn)),
    )


def _limit(lines: Sequence[DifferenceLine]) -> float:
    ends = [abs(end) for line in lines for end in (line.difference.low, line.difference.high) if end is not None]
    return next((limit for limit in LIMITS if limit >= max(ends, default=0.0)), LIMITS[-1])  # 1 and a rounding error


def _scale(panel: Panel, limit: float) -> Markup:
    """Vertical lines at zero, at half the limit and at the limit, with their figures below."""
    return join(
        [
            join(
                element("line", x1=x, x2=x, y1=panel.top, y2=panel.bottom, class_="grid" if share else "axis"),
                plot.text(x, panel.bottom + 16, points(share * limit) if share else "0", "tick", "middle"),
            )
            for share in (-1.0, -0.5, 0.0, 0.5, 1.0)
            for x in (panel.x((share + 1) / 2),)
        ]
    )


def _difference_line(panel: Panel, y: float, limit: float, line: DifferenceLine) -> list[Markup | None]:
    each = line.difference
    if each.value is None or each.low is None or each.high is None or each.first is None or each.second is None:
        return [plot.text(panel.left + 4, y + 4, "none", "tick")]
    low, value, high = ((end / limit + 1) / 2 for end in (each.low, each.value, each.high))
    both = f"{percent(each.first)} → {percent(each.second)}"
    hover = (
        f"{printable(line.group)}; {printable(line.label)}: {both}, {points(each.value)} "
        f"(95% interval {points(each.low)} to {points(each.high)}), n = {each.n:,}"
    )
    return [
        plot.spread(panel, y, (low, value, high), line.series, hover, points(each.value)),
        plot.text(WIDTH, y + 4, both, "tick", "end"),
    ]
