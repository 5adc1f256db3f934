"""The sheet behind every plot: a matplotlib figure in the reports' style, with texts of any language and hover texts.

Figures use matplotlib's object-oriented API, in a style that neither reads nor changes the user's settings. matplotlib
is imported when the first plot is drawn: the import takes half a second, which other commands should not pay.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeVar

from safechain_ray.report.document import printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

AnyText = TypeVar("AnyText", bound="Text")

WIDE, NARROW = 1040, 360
"""Widths in CSS pixels. The narrow one fits a phone; its panels are stacked."""

DPI = 72
"""At 72 dots per inch one point is one pixel, and one unit of the SVG."""

PALETTE = {
    "ink": "#1d2126",
    "soft": "#59616b",
    "line": "#e2dfd9",
    "card": "#ffffff",
    "c0": "#1c6a9c",
    "c1": "#c4510f",
    "c2": "#13795b",
    "c3": "#9a4c86",
    "c4": "#8f6a00",
    "c5": "#54606c",
    "m0": "#c9deed",
    "m1": "#8fbcd9",
    "m2": "#4c90bd",
    "q0": "#b9d6ea",
    "q1": "#f3d99b",
    "q2": "#f4bb9d",
    "q3": "#df8258",
}
"""Every colour of a plot, by the name of its variable in report.css, which adds the dark colour."""

INK, SOFT, LINE, CARD = (PALETTE[name] for name in ("ink", "soft", "line", "card"))
MARKERS = (("o", 9.0), ("s", 8.0), ("D", 7.8), ("^", 9.6), ("v", 9.6), ("8", 9.6))
"""Shapes with their sizes in pixels."""

SERIES = len(MARKERS)
"""Series that readers can distinguish, also without colour: each has a shape of its own."""

LINE_HEIGHT = 15.0
CHARACTER = 7.2
"""Width of an average character in pixels; a high estimate."""

LONGEST = 400
"""Characters of a label. A longer one loses its middle: no plot has room for it, and its hover text is whole."""

STYLE: dict[str, Any] = {
    "font.size": 12,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 12,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": False,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "legend.borderpad": 0,
    "legend.columnspacing": 1.6,
    "legend.handlelength": 1.2,
    "legend.handletextpad": 0.5,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "butt",
    "lines.markeredgecolor": CARD,
    "lines.markeredgewidth": 1.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "safechain-ray",
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (("labelsize", 11), ("labelcolor", SOFT))},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
}


@contextmanager
def plot_style() -> Iterator[None]:
    """The style of every plot on top of matplotlib's own defaults. The user's settings are restored at its end.

    matplotlib's remarks on its font cache and on a home folder without write access are not shown.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib.style

        with matplotlib.style.context(["default", STYLE]):
            yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True, slots=True)
class Words:
    """The lines of a text as they are shown; `kind` is its class in the SVG."""

    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Points:
    """Hover texts, each of one figure. A part lists artists by id; their shapes, in order, belong to the figures.

    `with_intervals`: the first part is lines, which are also hit by a pointer that is near.
    """

    hovers: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    with_intervals: bool


@dataclass(slots=True)
class Sheet:
    """A figure under construction, `width` by `height` pixels; build it and use it within `plot_style()`.

    `pads` are the spaces beside and above each panel.

    In a page the texts of a run do not pass through matplotlib: it lays out Latin letters of the same width, which are
    replaced in the SVG. A browser has fonts for all languages, and matplotlib one. `for_file` is of a figure that
    matplotlib saves itself, with the texts as they are.
    """

    width: float
    height: float
    for_file: bool = False
    pads: tuple[float, float] = (5.0, 5.0)
    words: dict[str, Words] = field(default_factory=dict)
    points: list[Points] = field(default_factory=list)
    figure: Figure = field(init=False)
    _renderer: RendererAgg = field(init=False)
    _artists: int = 0

    def __post_init__(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        across, down = (pad / DPI for pad in self.pads)
        layout = ConstrainedLayoutEngine(w_pad=across, h_pad=down, wspace=0.05, hspace=0)
        self.figure = Figure(figsize=(self.width / DPI, self.height / DPI), dpi=DPI, layout=layout)
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()
        self.figure.patch.set_gid("paper")

    def write(self, text: AnyText, lines: Sequence[str], kind: str) -> AnyText:
        """Give `text` its lines. Only a text that is aligned left may have several."""
        self.words[self._tag(text)] = Words(kind, tuple(lines))
        text.set_text("\n".join(lines if self.for_file else map(_stand_in, lines)))
        text.set_linespacing(1.25)
        return text

    def hover(self, hovers: Sequence[str], *parts: Sequence[Artist], with_intervals: bool = False) -> None:
        """Show hover texts over the shapes of `parts`: the n-th shape of each part is of the n-th text."""
        tags = tuple(tuple(map(self._tag, part)) for part in parts)
        self.points.append(Points(tuple(hovers), tags, with_intervals))

    def lay_out_widest(self, texts: Sequence[Text]) -> float:
        """Make room for the widest of texts in a column, and return its width in pixels; 0 without texts.

        The others are left out of the layout, which would measure each of hundreds several times.
        """
        widths = [text.get_window_extent(self._renderer).width for text in texts]
        for text in texts:
            text.set_in_layout(False)
        if texts:
            texts[widths.index(max(widths))].set_in_layout(True)
        return max(widths, default=0.0)

    def legend(self, handles: Sequence[Artist], names: Sequence[str]) -> None:
        """The names of the series above all panels, or below those of a file, in as many columns as fit."""
        columns = legend_columns(names, self.width)
        place = "outside lower left" if self.for_file else "outside upper left"
        margin = 1 if self.for_file else 0.4
        legend = self.figure.legend(handles, ["x"] * len(names), loc=place, ncols=columns, borderaxespad=margin)
        for text, name in zip(legend.get_texts(), names, strict=True):
            self.write(text, wrapped(name, _legend_characters(self.width)), "key")

    def _tag(self, artist: Artist) -> str:
        """The id by which the shapes of `artist` are found in the SVG."""
        tag = artist.get_gid()
        if tag is None:
            tag = f"artist{self._artists}"
            self._artists += 1
            artist.set_gid(tag)
        return tag


def marker(series: int) -> dict[str, Any]:
    """The shape and colour of a series, as arguments of `Axes.plot`."""
    shape, size = MARKERS[series % SERIES]
    return {"linestyle": "", "marker": shape, "markersize": size, "color": PALETTE[f"c{series % SERIES}"]}


def marker_handles(count: int) -> list[Artist]:
    """The marks of so many series, for a legend."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], **marker(series)) for series in range(count)]


def colour_handles(names: Sequence[str]) -> list[Artist]:
    """Patches of colours of the palette, for a legend."""
    from matplotlib.patches import Patch

    return [Patch(facecolor=PALETTE[name]) for name in names]


def legend_columns(names: Sequence[str], width: float) -> int:
    """As many columns as the longest name leaves room for."""
    longest = min(max(map(columns_of, names)), _legend_characters(width))
    return max(1, min(len(names), int(width / (CHARACTER * longest + 40))))


def legend_height(names: Sequence[str], width: float) -> float:
    """Height of the legend in pixels; 0 without names."""
    if not names:
        return 0.0
    rows = -(-len(names) // legend_columns(names, width))
    lines = max(len(wrapped(name, _legend_characters(width))) for name in names)
    return rows * (LINE_HEIGHT * lines + 4) + 10


def wrapped(words: str, columns: float) -> list[str]:
    """The whole text in lines of about so many columns; a letter of East Asian scripts takes two.

    Example:
        >>> wrapped("strongreject zerothink temp=0.6", 22)
        ['strongreject zerothink', 'temp=0.6']
    """
    whole = printable(words)
    if len(whole) > LONGEST:
        whole = f"{whole[: LONGEST // 2]} … {whole[-LONGEST // 2 :]}"
    narrowness = len(whole) / max(1, columns_of(whole))
    return wrap(whole, max(6, int(columns * min(1.0, narrowness)))) or [""]


def columns_of(words: str) -> int:
    """Columns that a terminal would need for a text, which is also about its width in a proportional font."""
    return sum(map(_columns, words))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _stand_in(line: str) -> str:
    """Letters that matplotlib's font has, about as wide as those of `line`."""
    widths = ("", "n", "W")
    return "".join(character if character < "\u0250" else widths[_columns(character)] for character in line)


def _legend_characters(width: float) -> int:
    return int((width - 40) / CHARACTER)
