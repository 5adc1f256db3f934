"""A small plot with two figures in one row, every text of which can be chosen."""

from functools import partial

from safechain_ray.report.plots.marks import Mark, Panel, Row
from safechain_ray.report.plots.rows import draw_rows
from safechain_ray.report.plots.svg import Plot, draw_plot


def plot(label: str = "guard", hover: str = "", key: str = "key") -> Plot:
    marks = (Mark(hover or label, "50.0", 0.5, 0.4, 0.6), Mark(hover or label, "70.0", 0.7, 0.6, 0.8, series=1))
    build = partial(draw_rows, rows=[Row(label, (marks,), group=label)], panels=[Panel(label)], names=[label, label])
    return draw_plot(key, "title", "caption", label, build)
