"""What differs between two models, figure by figure, on one scale around zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from safechain_ray.metrics.paired import PairedMeans
from safechain_ray.report.escape import printable
from safechain_ray.report.html import plot
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.html.plot import WIDTH, Panel, Plot
from safechain_ray.report.labels import percent
from safechain_ray.report.published import points

ROW, GROUP, RIGHT = 24.0, 28.0, 150.0
LIMITS = (0.1, 0.25, 0.5, 1.0)
"""How far the scale goes to both sides, whichever is enough."""


@dataclass(frozen=True, slots=True)
class Differing:
    """One line: a figure of both models, in the group of which it is a part. A `series` has a colour and a mark."""

    group: str
    label: str
    series: int
    difference: PairedMeans


def difference_plot(key: str, title: str, lines: Sequence[Differing]) -> Plot:
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
            drawn += _line(panel, y + 7, limit, line)
            y += ROW
    return Plot(
        key,
        title,
        "The paired difference in points with its 95% interval, which is not widened for the number of comparisons. "
        "Right is better.",
        plot.picture(panel.bottom + 28, title, join(drawn)),
    )


def _limit(lines: Sequence[Differing]) -> float:
    ends = [abs(end) for line in lines for end in (line.difference.low, line.difference.high) if end is not None]
    return next((limit for limit in LIMITS if limit >= max(ends, default=0.0)), LIMITS[-1])  # 1 and a rounding error


def _scale(panel: Panel, limit: float) -> Markup:
    """Upright lines at zero, at half the limit and at the limit, with their figures below."""
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


def _line(panel: Panel, y: float, limit: float, line: Differing) -> list[Markup | None]:
    each = line.difference
    if each.value is None or each.low is None or each.high is None or each.first is None or each.second is None:
        return [plot.text(panel.left + 4, y + 4, "none", "tick")]
    low, value, high = ((end / limit + 1) / 2 for end in (each.low, each.value, each.high))
    both = f"{percent(each.first)} → {percent(each.second)}"
    told = (
        f"{printable(line.group)}; {printable(line.label)}: {both}, {points(each.value)} "
        f"(95% interval {points(each.low)} to {points(each.high)}), n = {each.n:,}"
    )
    return [
        plot.spread(panel, y, (low, value, high), line.series, told, points(each.value)),
        plot.text(WIDTH, y + 4, both, "tick", "end"),
    ]
