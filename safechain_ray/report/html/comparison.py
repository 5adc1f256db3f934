"""Pages of several models: a comparison with plots of differences, and a sweep with models ranked by each judge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.compare_models import ComparedModels
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.benchmark import BenchmarkComparison
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import NO_STAND_INS, StandIns, beside
from safechain_ray.metrics.safety import PairedMeans
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.compared_models import differences, side_by_side
from safechain_ray.report.document import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.definitions import with_glossary
from safechain_ray.report.html.elements import (
    Markup,
    Section,
    assemble,
    caveats_and_notes,
    element,
    html_caveats,
    html_legend,
    html_notes,
    html_table,
    join,
)
from safechain_ray.report.html.plot import WIDTH, Panel, Plot, figure
from safechain_ray.report.labels import METRIC_LABELS, common_sampling, percent, points, setting_label
from safechain_ray.report.leaderboard import (
    RANKINGS_LEGEND,
    Ranking,
    SweepRun,
    leaderboard_beside,
    not_done_tables,
    outcomes_table,
    over_refusal_tables,
    ranking_table,
    rankings,
)

ROW, GROUP, RIGHT = 24.0, 28.0, 150.0

LIMITS = (0.1, 0.25, 0.5, 1.0)
"""Possible ends of the scale on both sides; the plot takes the first one that is enough."""

SAFETY, BENCHMARKS = 0, 1
"""The series of plots: a colour and a mark for each kind of figure."""

COMPLETE = "All models were asked the same."


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
        Section("first", "Warnings and notes", caveats_and_notes(document, COMPLETE)),
        *([] if models is None else [Section("models", "Models", html_table(models))]),
        Section("plots", "What differs", join(map(figure, _plots(compared)))),
        Section("differences", "Differences", join(map(html_table, document.tables))),
    ]
    baseline, *others = map(printable, compared.names)
    return assemble(f"{', '.join(others)} against {baseline}", _line(compared), with_glossary(sections))


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
        "The paired difference in points with its 95% interval, which is not corrected for multiple comparisons. "
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


MODEL_ROW = 24.0

PANELS_A_LINE = 3

TOP, LINE_GAP = 48.0, 86.0  # room for headings of two lines


def sweep_page(runs: Sequence[SweepRun], stand_ins: StandIns = NO_STAND_INS, models: Sequence[SweptModel] = ()) -> str:
    """The report of a sweep: figures only, with links to the reports that hold the samples.

    `models` are all models of the sweep: incomplete ones are listed first. Published figures are shown beside ours
    where there are some, of the runs' own models or of those in `stand_ins`.
    """
    found = rankings(runs)
    figures = [
        *map(html_table, map(ranking_table, found)),
        html_legend(RANKINGS_LEGEND),
        *map(html_table, over_refusal_tables(runs)),
    ]
    sections = [
        Section("first", "Warnings and notes", _know_first(runs, models)),
        Section("leaderboard", "Leaderboard", join(figures)),
        *_published([run.metrics for run in runs], stand_ins),
        *([Section("plots", "Plots", join(map(figure, map(_plot, range(len(found)), found))))] if found else []),
    ]
    rows = sum(setting.rows for run in runs for setting in run.metrics.settings)
    common = common_sampling([setting for run in runs for setting in run.metrics.settings])
    line = [
        f"{len(runs)} model{'' if len(runs) == 1 else 's'}",
        f"{rows:,} samples",
        *filter(None, [" ".join(common.values())]),
    ]
    return assemble("Safety of models", " · ".join(line), with_glossary(sections))


def _know_first(runs: Sequence[SweepRun], models: Sequence[SweptModel]) -> Markup:
    """Caveats, incomplete models with their last errors, then the outcomes and missing verdicts of each run."""
    outcomes = outcomes_table([run.metrics for run in runs], [run.link for run in runs], with_missing=True)
    return join(
        html_caveats(dict.fromkeys(caveat for run in runs for caveat in run.metrics.caveats)),
        *map(html_table, (*not_done_tables(models), outcomes)),
    )


def _published(runs: Sequence[RunMetrics], stand_ins: StandIns) -> list[Section]:
    """Every model in every setting with published figures below ours; no section where nothing was published."""
    figures = published_figures()
    if not any(beside(run, figures, stand_ins) for run in runs):
        return []
    document = leaderboard_beside(runs, figures, stand_ins)
    return [Section("published", "Beside the paper", join(html_table(document.tables[-1]), html_notes(document.notes)))]


def _plot(number: int, ranking: Ranking) -> Plot:
    """Safe@1: a panel a setting, a row a model."""
    models = [printable(ranked.run.metrics.model) for ranked in ranking.runs]
    left = min(290.0, max(map(plot.text_width, models)) + 16)
    height = MODEL_ROW * len(models) + 8
    lines = -(-len(ranking.settings) // PANELS_A_LINE)
    drawn = list(_panels(ranking, models, left, height))
    return Plot(
        f"leaderboard-{number}",
        ranking.judge,
        "Safe@1 with its 95% interval; right is safer.",
        plot.picture(lines * (height + LINE_GAP) - 8, f"Safe@1 by model and setting: {ranking.judge}", join(drawn)),
    )


def _panels(ranking: Ranking, models: Sequence[str], left: float, height: float) -> Iterator[Markup | None]:
    beside = min(PANELS_A_LINE, len(ranking.settings))
    width = (WIDTH - left - 16 - plot.GAP * (beside - 1)) / beside
    for place, name in enumerate(ranking.settings):
        line, column = divmod(place, beside)
        panel = Panel(left + column * (width + plot.GAP), TOP + line * (height + LINE_GAP), width, height)
        yield plot.heading(panel.left, panel.top - 14, name, int(width / 7))
        yield plot.columns(panel)
        for row, (ranked, model) in enumerate(zip(ranking.runs, models, strict=True)):
            y = panel.top + 4 + MODEL_ROW * (row + 0.5)
            if column == 0:
                yield plot.text(0, y + 4, model, "label", characters=42)
            if name in ranked.by_setting:
                metric = ranked.by_setting[name].safe_at_1
                hover = plot.hover_text(metric, model, name, ranking.judge, "Safe@1")
                yield plot.point_along(panel, y, metric, 0, hover)
