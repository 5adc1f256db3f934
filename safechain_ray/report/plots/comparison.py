"""The plots of several models: differences from a baseline, and the models of a sweep as one judge ranks them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.safety import PairedMeans
from safechain_ray.report.document import printable
from safechain_ray.report.labels import METRIC_LABELS, common_sampling, percent, points, setting_label
from safechain_ray.report.leaderboard import Ranking
from safechain_ray.report.plots.marks import Mark, Panel, Row, Scale, first_rows, share_mark
from safechain_ray.report.plots.rows import draw_rows
from safechain_ray.report.plots.run import MOST_ROWS
from safechain_ray.report.plots.svg import Plot, draw_plot

LIMITS = (0.1, 0.25, 0.5, 1.0)
"""Possible ends of the scale on both sides; the plot takes the first one that is enough."""


SAFETY, BENCHMARKS = 0, 1
"""The series of plots: a colour and a mark for each kind of figure."""


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """One line of the plot: a figure of both models, in its group. A `series` has a colour and a mark."""

    group: str
    label: str
    series: int
    difference: PairedMeans


def safety_lines(comparison: Comparison) -> Iterator[tuple[str, DifferenceLine]]:
    """The lines of each pair of settings, with the run that is compared with the baseline."""
    common = common_sampling([setting for pair in comparison.pairs for setting in (pair.first, pair.second)])
    for pair in comparison.pairs:
        for judge in pair.judges:
            group = f"{setting_label(pair.second, common)}; {printable(judge.judge)}, {judge.part}"
            for each in judge.differences:
                yield pair.run, DifferenceLine(group, METRIC_LABELS[each.metric], SAFETY, each)


def difference_plot(key: str, title: str, lines: Sequence[DifferenceLine]) -> Plot:
    """The lines in their groups: the difference with its interval, and both figures at the right."""
    rows = [Row(line.label, ((_mark(line),),), printable(line.group), _both(line.difference)) for line in lines]
    rows, rest = first_rows(rows, MOST_ROWS, "differences", "The table has all.")
    return draw_plot(
        key,
        title,
        "The paired difference in points with its 95% interval, which is not corrected for multiple comparisons; then "
        f"the baseline's figure → the other's, in percent. Right is better.{rest}",
        title,
        partial(draw_rows, rows=rows, panels=[Panel("", _scale(lines))]),
    )


def ranking_plot(number: int, ranking: Ranking) -> Plot:
    """Safe@1: a panel a setting, a row a model."""
    rows = [
        Row(
            model,
            tuple(
                (share_mark(ranked.by_setting[name].safe_at_1, model, name, ranking.judge, "Safe@1"),)
                if name in ranked.by_setting
                else (None,)
                for name in ranking.settings
            ),
        )
        for ranked in ranking.runs
        for model in [printable(ranked.run.metrics.model)]
    ]
    rows, rest = first_rows(rows, MOST_ROWS, "models", "The table has all.")
    return draw_plot(
        f"leaderboard-{number}",
        ranking.judge,
        f"Safe@1 with its 95% interval; right is safer.{rest}",
        f"Safe@1 by model and setting: {ranking.judge}",
        partial(draw_rows, rows=rows, panels=[Panel(name) for name in ranking.settings]),
    )


def _scale(lines: Sequence[DifferenceLine]) -> Scale:
    """Zero in the middle, and the same limit on both sides."""
    ends = [abs(end) for line in lines for end in (line.difference.low, line.difference.high) if end is not None]
    limit = next((limit for limit in LIMITS if limit >= max(ends, default=0.0)), LIMITS[-1])  # 1 and a rounding error
    ticks = tuple((share * limit, points(share * limit) if share else "0") for share in (-1.0, -0.5, 0.0, 0.5, 1.0))
    return Scale(-limit, limit, ticks, axis=0.0, ends=("worse", "better"))


def _mark(line: DifferenceLine) -> Mark:
    each = line.difference
    if each.value is None or each.low is None or each.high is None or each.first is None or each.second is None:
        return Mark("", "none", None, series=line.series)
    hover = (
        f"{printable(line.group)}; {printable(line.label)}: {_both(each)}, {points(each.value)} "
        f"(95% interval {points(each.low)} to {points(each.high)}), n = {each.n:,}"
    )
    return Mark(hover, points(each.value), each.value, each.low, each.high, line.series)


def _both(each: PairedMeans) -> str:
    """The figures of the baseline and of the other model, in percent."""
    return "" if each.value is None else f"{percent(each.first)} → {percent(each.second)}"
