"""Draws curves of shares with their intervals as bands: a grid of panels, below each other on a narrow sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.plots.marks import interval
from safechain_ray.report.plots.sheet import (
    LINE_HEIGHT,
    PALETTE,
    SERIES,
    SOFT,
    WIDE,
    Sheet,
    legend_height,
    marker,
    marker_handles,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT, NARROW_HEIGHT = 190.0, 150.0
TICK_WIDTH = 34.0
"""Ticks that are closer have no label of their own."""

MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A figure at the place `x`, from 0 at the left to 1 at the right."""

    x: float
    metric: Estimate
    hover: str


@dataclass(frozen=True, slots=True)
class CurvePanel:
    """One curve for each series of the legend, in its order."""

    title: str
    curves: tuple[tuple[CurvePoint, ...], ...]


def draw_curves(
    width: float,
    panels: Sequence[CurvePanel],
    beside: int,
    names: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    axis: str,
) -> Sheet:
    """A sheet of `panels`, so many beside each other where it is wide. `ticks` have places from 0 to 1."""
    is_narrow = width < WIDE
    beside = 1 if is_narrow else beside
    lines = -(-len(panels) // beside)
    height = NARROW_HEIGHT if is_narrow else HEIGHT
    titles = [wrapped(panel.title, (width - 40) / beside / 8) for panel in panels]
    above = LINE_HEIGHT * max(map(len, titles)) + 14
    sheet = Sheet(width, legend_height(names, width) + lines * (above + height + 54) + 6, pads=(5.0, 9.0))
    sheet.legend(marker_handles(len(names)), names)
    shown = _spaced(ticks, (width - 50) / beside - 40)
    grid = sheet.figure.subplots(lines, beside, squeeze=False)
    for number, (axes, panel) in enumerate(zip(grid.flat, panels, strict=True)):
        sheet.write(axes.set_title(" "), titles[number], "head")
        _prepare(axes, shown, number % beside == 0)
        axes.set_xlabel(axis)
        for series, curve in enumerate(panel.curves):
            _paint(sheet, axes, [point for point in curve if point.metric.value is not None], series)
    return sheet


def _spaced(ticks: Sequence[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """The ticks whose labels do not touch in a panel of this width, and the last one."""
    shown: list[tuple[float, str]] = []
    for tick in ticks:
        if not shown or (tick[0] - shown[-1][0]) * width >= TICK_WIDTH:
            shown.append(tick)
    if shown[-1] != ticks[-1]:
        shown[-1:] = [ticks[-1]]
    return shown


def _prepare(axes: Axes, ticks: Sequence[tuple[float, str]], has_figures: bool) -> None:
    axes.patch.set_visible(False)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-MARGIN, 1 + MARGIN)
    axes.set_ylim(0, 1)
    axes.set_xticks([at for at, _ in ticks], [words for _, words in ticks])
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    axes.tick_params(axis="x", pad=7)  # below a mark at 0%
    axes.set_yticks(shares, [f"{share:.0%}" if has_figures else "" for share in shares])
    axes.axhline(0, color=SOFT, linewidth=1, zorder=1, clip_on=False)


def _paint(sheet: Sheet, axes: Axes, points: Sequence[CurvePoint], series: int) -> None:
    """The points joined by a line, on their intervals as a band."""
    if not points:
        return
    colour = PALETTE[f"c{series % SERIES}"]
    places = [point.x for point in points]
    values = [point.metric.value for point in points if point.metric.value is not None]
    ends = [interval(point.metric) for point in points]
    axes.fill_between(
        places, [low for low, _ in ends], [high for _, high in ends], color=colour, alpha=0.16, linewidth=0
    )
    axes.plot(places, values, color=colour, clip_on=False)
    (marks,) = axes.plot(places, values, clip_on=False, zorder=3, **marker(series))
    sheet.hover([point.hover for point in points], [marks])
