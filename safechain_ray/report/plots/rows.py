"""Draws rows of figures as marks with intervals, as bars, or as stretches of one bar, in panels with one scale each.

A wide sheet has the labels left of the rows and up to three panels beside each other. A narrow one has each label above
its row, and the panels below each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from safechain_ray.report.plots.marks import Mark, Panel, Row, Scale
from safechain_ray.report.plots.sheet import (
    CHARACTER,
    INK,
    LINE_HEIGHT,
    PALETTE,
    SERIES,
    SOFT,
    WIDE,
    Sheet,
    colour_handles,
    columns_of,
    legend_height,
    marker,
    marker_handles,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation, Text

Look = Literal["marks", "bars", "stretches"]

STEPS: dict[Look, float] = {"marks": 14.0, "bars": 15.0, "stretches": 24.0}
"""Height in pixels of a line of figures. All stretches of a row are in one line."""

PANELS_A_LINE = 3
LABEL_COLUMNS, ONE_PANEL_COLUMNS, NARROW_COLUMNS = 40, 56, 44
"""Characters of a line of a label; headings are bold, and have 4 less."""

LABELS = 300.0
"""About the width of the labels beside several panels in pixels."""

ROW_GAP, GROUP_GAP, BELOW = 10.0, 8.0, 4.0
SCREEN = 600.0
"""A panel that is higher has the ticks of its scale also above."""

FILE_MARGIN = 12.0
"""Around the panels of a file. A page has margins of its own."""

STRETCH_OF_WORDS = 36.0
"""The fewest pixels that have room for `100.0`."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A row with the places of its texts' tops and of its first figure, in pixels from the top of the panel."""

    row: Row
    heading: tuple[str, ...]
    heading_y: float
    label: tuple[str, ...]
    label_y: float
    figure_y: float


def draw_rows(
    width: float,
    rows: Sequence[Row],
    panels: Sequence[Panel],
    names: Sequence[str] = (),
    look: Look = "marks",
    headline: str = "",
    for_file: bool = False,
) -> Sheet:
    """A sheet of at least one row and one panel; `names` are the series of its legend."""
    is_narrow = width < WIDE
    beside = 1 if is_narrow else min(PANELS_A_LINE, len(panels))
    lines = -(-len(panels) // beside)
    spots, height = place(rows, look, is_narrow, ONE_PANEL_COLUMNS if len(panels) == 1 else LABEL_COLUMNS)
    titles = [wrapped(panel.title, (width if is_narrow else (width - LABELS) / beside) / 8) for panel in panels]
    above = max(_above(panel, lines) for panel, lines in zip(panels, titles, strict=True))
    above += 15 if height > SCREEN else 0
    top = (34 if headline else 0) + legend_height(names, width) + (6 * FILE_MARGIN if for_file else 0)
    pad = FILE_MARGIN if for_file else 6.0
    sheet = Sheet(width, top + lines * (above + height + 28) + 4, for_file, (pad, pad))
    grid = sheet.figure.subplots(lines, beside, squeeze=False)
    if headline:
        text = sheet.figure.suptitle(" ", x=FILE_MARGIN / width, ha="left", fontsize=13)
        sheet.write(text, wrapped(headline, width / 8), "head")
    if names:
        sheet.legend(
            colour_handles(_shades(look, len(names))) if look != "marks" else marker_handles(len(names)), names
        )
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_visible(False)
            continue
        _prepare(axes, panels[number].scale, height)
        sheet.write(axes.set_title(" "), titles[number], "head")
        if number % beside == 0:
            _label(sheet, axes, spots, is_narrow)
        figures = _by_series(spots, number, look)
        if look == "stretches":
            _paint_stretches(sheet, axes, figures, width if is_narrow else width - LABELS)
        else:
            _paint_figures(sheet, axes, figures, look)
        if number % beside == beside - 1:
            _note(sheet, axes, spots, is_narrow)
    return sheet


def place(rows: Sequence[Row], look: Look, is_narrow: bool, wide_columns: int) -> tuple[list[Spot], float]:
    """The places of the rows, and the height of all of them in pixels."""
    step = STEPS[look]
    columns = NARROW_COLUMNS if is_narrow else wide_columns
    spots: list[Spot] = []
    y, group = 0.0, ""
    for row in rows:
        heading: list[str] = []
        heading_y = y
        if row.group != group:
            group = row.group
            heading_y = y + (GROUP_GAP if spots else 0)
            heading = wrapped(group, columns - 4)
            y = heading_y + LINE_HEIGHT * len(heading) + BELOW
        noted = columns_of(row.note) + 2 if row.note and is_narrow else 0
        label = wrapped(row.label, columns - noted)
        of_label = LINE_HEIGHT * len(label)
        of_figures = step * (1 if look == "stretches" else max(map(len, row.cells)))
        if is_narrow:
            label_y, figures_y = y, y + of_label
            y = figures_y + of_figures + ROW_GAP
        else:
            middle = y + (max(of_figures, of_label) + ROW_GAP) / 2
            label_y, figures_y = middle - of_label / 2 + 2, middle - of_figures / 2
            y += max(of_figures, of_label) + ROW_GAP
        spots.append(Spot(row, tuple(heading), heading_y, tuple(label), label_y, figures_y + step / 2))
    return spots, y


Placed = list[tuple[float, Mark]]


def _by_series(spots: Sequence[Spot], number: int, look: Look) -> dict[int, Placed]:
    """The figures of a panel with their places, by series."""
    step = 0.0 if look == "stretches" else STEPS[look]
    found: defaultdict[int, Placed] = defaultdict(list)
    for spot in spots:
        for line, mark in enumerate(spot.row.cells[number]):
            if mark is not None:
                found[mark.series].append((spot.figure_y + line * step, mark))
    return found


def _above(panel: Panel, title: Sequence[str]) -> float:
    """The room for a panel's title and the names of its directions in pixels."""
    return (LINE_HEIGHT * len(title) + 12 if panel.title else 2) + (15 if panel.scale.ends else 0)


def _shades(look: Look, count: int) -> list[str]:
    return [f"{'m' if look == 'bars' else 'q'}{number}" for number in range(count)]


def _prepare(axes: Axes, scale: Scale, height: float) -> None:
    axes.patch.set_visible(False)
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(height, 0)
    axes.set_xticks([at for at, _ in scale.ticks], [words for _, words in scale.ticks])
    axes.set_yticks([])
    axes.tick_params(labeltop=height > SCREEN and scale.ends is None)  # the names of the directions are there
    if scale.axis is not None:
        axes.axvline(scale.axis, color=SOFT, linewidth=1, zorder=1)
    for words, share, aligned in zip(scale.ends or (), (0, 1), ("left", "right"), strict=False):
        axes.annotate(
            words,
            (share, 1),
            xycoords="axes fraction",
            xytext=(0, 5),
            textcoords="offset points",
            ha=aligned,
            color=SOFT,
            fontsize=11,
        )


def _label(sheet: Sheet, axes: Axes, spots: Sequence[Spot], is_narrow: bool) -> None:
    """Headings and labels, aligned left: in a column left of the panel, or in the panel above each row."""
    indent = 12.0 if spots[0].heading and not is_narrow else 0.0
    texts: list[Annotation] = []
    for spot in spots:
        if spot.heading:
            text = _text(axes, 0, spot.heading_y, "left", "top", color=INK, fontsize=12, fontweight="bold")
            texts.append(sheet.write(text, spot.heading, "group"))
        text = _text(axes, 0, spot.label_y, "left", "top", indent, fontsize=12)
        texts.append(sheet.write(text, spot.label, "label"))
    width = sheet.lay_out_widest(texts) + indent + 12
    for text in texts:
        text.set_in_layout(text is texts[0] and not is_narrow)  # the first text starts at the left end of the column
        if not is_narrow:
            text.xyann = (text.xyann[0] - width, 0)


def _note(sheet: Sheet, axes: Axes, spots: Sequence[Spot], is_narrow: bool) -> None:
    """The notes at the right end of their rows; on a narrow sheet in the lines of the labels."""
    noted = [spot for spot in spots if spot.row.note]
    words = [mark.words for spot in noted for mark in spot.row.cells[-1] if mark is not None]
    values = _values_width(words)
    texts = []
    for spot in noted:
        if is_narrow:
            text = _text(axes, 1, spot.label_y + 1, "right", "top", values)
        else:
            text = _text(axes, 1, spot.figure_y, "left", "center", values + 14)
        texts.append(sheet.write(text, [spot.row.note], "tick"))
    sheet.lay_out_widest(texts)


def _paint_figures(sheet: Sheet, axes: Axes, figures: dict[int, Placed], look: Look) -> None:
    """Marks on their intervals, or bars with whiskers; the values in a column right of the panel."""
    column = _values_width([mark.words for found in figures.values() for _, mark in found])
    texts: list[Text] = []
    for series, found in figures.items():
        defined = [(y, mark) for y, mark in found if mark.value is not None]
        for y, mark in found:
            if mark.value is None:
                texts.append(sheet.write(_text(axes, 1, y, "right", "center", column), [mark.words], "tick"))
        if not defined:
            continue
        shown = [
            sheet.write(_text(axes, 1, y, "right", "center", column, color=INK), [mark.words], "value")
            for y, mark in defined
        ]
        texts += shown
        places, values = [y for y, _ in defined], [mark.value for _, mark in defined if mark.value is not None]
        ends = [mark.low for _, mark in defined], [mark.high for _, mark in defined]
        hovers = [mark.hover for _, mark in defined]
        if look == "bars":
            bars = axes.barh(places, values, height=STEPS[look] - 2, color=PALETTE[f"m{series}"])
            whiskers = axes.hlines(places, *ends, color=INK, linewidth=1.25, zorder=3)
            sheet.hover(hovers, bars.patches, [whiskers], shown)
        else:
            colour = PALETTE[f"c{series % SERIES}"]
            intervals = axes.hlines(
                places, *ends, color=colour, linewidth=2.5, alpha=0.55, capstyle="round", zorder=2, clip_on=False
            )
            (marks,) = axes.plot(values, places, zorder=3, clip_on=False, **marker(series))
            sheet.hover(hovers, [intervals], [marks], shown, with_intervals=True)
    sheet.lay_out_widest(texts)


def _paint_stretches(sheet: Sheet, axes: Axes, figures: dict[int, Placed], width: float) -> None:
    """Stretches of a bar, each with its words where they fit into a panel of about this width."""
    for series, found in figures.items():
        fits = [(mark.high - mark.low) * width > STRETCH_OF_WORDS for _, mark in found]
        for has_words in (True, False):
            some = [each for each, fit in zip(found, fits, strict=True) if fit is has_words]
            places, lows = [y for y, _ in some], [mark.low for _, mark in some]
            lengths = [mark.high - mark.low for _, mark in some]
            bars = axes.barh(places, lengths, left=lows, height=STEPS["stretches"], color=PALETTE[f"q{series}"])
            texts = [
                axes.text((mark.low + mark.high) / 2, y, " ", ha="center", va="center", fontsize=11)
                for y, mark in some
                if has_words
            ]
            for text, (_, mark) in zip(texts, some, strict=False):
                sheet.write(text, [mark.words], "value")
            if some:
                sheet.hover([mark.hover for _, mark in some], bars.patches, *([texts] if has_words else []))


def _values_width(words: Sequence[str]) -> float:
    """From a panel to the right end of its column of values."""
    return 8 + (CHARACTER - 0.4) * max(map(len, words), default=0)


def _text(
    axes: Axes,
    share: float,
    y: float,
    horizontal: str,
    vertical: str,
    right: float = 0.0,
    color: str = SOFT,
    fontsize: float = 11,
    fontweight: str = "normal",
) -> Annotation:
    """An empty text at a share of the panel's width, moved right by pixels, at a height of the rows."""
    return axes.annotate(
        " ",
        (share, y),
        xycoords=("axes fraction", "data"),
        xytext=(right, 0),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=color,
        fontsize=fontsize,
        fontweight=fontweight,
    )
