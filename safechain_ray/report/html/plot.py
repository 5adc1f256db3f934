"""The parts of every plot: scales, gridlines, marks with their intervals, legends, and the figure with its buttons.

Colours are CSS classes, so that one picture serves light and dark; the page's script writes them out when it saves one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from safechain_ray.metrics.intervals import Estimate
from safechain_ray.report.html.elements import Markup, element, join
from safechain_ray.report.labels import percent

WIDTH = 1040.0
GAP = 50.0
HEADING_LINE = 14.0
SERIES = 6
"""Colours (classes c0 to c5) and shapes that readers can distinguish, also without colour."""

_CHARACTER = 6.6
_SCREEN = 600.0


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure of the report. `svg` is the whole picture with its legend."""

    key: str
    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Panel:
    """A rectangle in which shares are drawn: 0 to 1 go from left to right, or from the bottom up."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, share: float) -> float:
        return self.left + share * self.width

    def y(self, share: float) -> float:
        return self.bottom - share * self.height


def figure(plot: Plot) -> Markup:
    """`plot` as the page shows it; the page's script finds its buttons by their `data-save`."""
    save = [
        element(
            "button", kind.upper(), type="button", data_save=kind, aria_label=f"Save {plot.title} as {kind.upper()}"
        )
        for kind in ("svg", "png")
    ]
    caption = element(
        "figcaption",
        element("h3", plot.title),
        element("p", plot.caption),
        element("div", save, class_="save"),
    )
    drawing = element("div", plot.svg, class_="drawing", tabindex=0, role="region", aria_label=plot.title)
    return element("figure", caption, drawing, id=f"plot-{plot.key}", data_name=plot.key)


def picture(height: float, description: str, *children: Markup) -> Markup:
    """The drawing, `WIDTH` wide, with a sentence about it for screen readers."""
    return element(
        "svg",
        element("title", description),
        *children,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        width=WIDTH,
        height=height,
        role="img",
        aria_label=description,
        xmlns="http://www.w3.org/2000/svg",
    )


def text(
    x: float, y: float, words: str, kind: str = "", anchor: str = "start", characters: int | None = None
) -> Markup:
    """One line of text on the baseline y; past `characters` its middle is cut, and it is whole in its hover title.

    Names that are compared often differ at their ends alone.
    """
    whole = None
    if characters is not None and len(words) > characters:
        tail = (characters - 1) // 2
        whole, words = element("title", words), f"{words[: characters - 1 - tail]}…{words[len(words) - tail :]}"
    return element(
        "text", words, whole, x=x, y=y, class_=kind or None, text_anchor=None if anchor == "start" else anchor
    )


def heading(x: float, y: float, words: str, characters: int) -> Markup:
    """A heading whose last line is on the baseline y: up to two lines, the second one cut if it is still too long."""
    end = words.rfind(" ", 0, characters + 1)
    if len(words) <= characters or end < 0:
        return text(x, y, words, "head", characters=characters)
    first, rest = words[:end], words[end + 1 :]
    return join(text(x, y - HEADING_LINE, first, "head"), text(x, y, rest, "head", characters=characters))


def text_width(words: str) -> float:
    """The approximate width of `words`; fonts differ, so it is a high estimate."""
    return _CHARACTER * len(words)


def columns(panel: Panel) -> Markup:
    """Vertical gridlines each 25%, with their figures below the panel, and also above a panel higher than a screen."""
    lines = [
        join(
            element("line", x1=x, x2=x, y1=panel.top, y2=panel.bottom, class_="grid"),
            text(x, panel.bottom + 16, f"{share:.0%}", "tick", "middle"),
            text(x, panel.top - 6, f"{share:.0%}", "tick", "middle") if panel.height > _SCREEN else None,
        )
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        for x in (panel.x(share),)
    ]
    return join(lines)


def rows(panel: Panel, figures: bool = True) -> Markup:
    """Horizontal gridlines each 25%, with their figures left of the panel."""
    lines = [
        join(
            element("line", x1=panel.left, x2=panel.right, y1=y, y2=y, class_="grid" if share else "axis"),
            text(panel.left - 8, y + 4, f"{share:.0%}", "tick", "end") if figures else None,
        )
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        for y in (panel.y(share),)
    ]
    return join(lines)


def mark(x: float, y: float, series: int) -> Markup:
    """The point of a series: its own shape and colour."""
    kind, shape = f"mark c{series % SERIES}", series % SERIES
    if shape == 0:
        return element("circle", cx=x, cy=y, r=4.5, class_=kind)
    if shape == 1:
        return element("rect", x=x - 4, y=y - 4, width=8.0, height=8.0, class_=kind)
    points = {
        2: ((0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0)),
        3: ((0, -5.2), (5.2, 4.2), (-5.2, 4.2)),
        4: ((0, 5.2), (5.2, -4.2), (-5.2, -4.2)),
        5: ((-5, -1.8), (-1.8, -5), (1.8, -5), (5, -1.8), (5, 1.8), (1.8, 5), (-1.8, 5), (-5, 1.8)),
    }[shape]
    return element("polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in points), class_=kind)


def legend(y: float, names: Sequence[str], left: float = 0.0) -> Markup:
    """The series by name, in one line."""
    drawn, x = [], left + 6.0
    for series, name in enumerate(names):
        drawn.append(join(mark(x, y - 4, series), text(x + 11, y, name, "key")))
        x += 34 + text_width(name)
    return join(drawn)


def hover_text(metric: Estimate, *names: str) -> str:
    """The hover text of a figure: `default; Safe@1: 40.6% (95% interval 37.1 to 44.2), 313 prompts`."""
    where = "; ".join(names)
    if metric.value is None:
        return f"{where}: no verdict"
    interval = ""
    if metric.low is not None and metric.high is not None:
        interval = f" (95% interval {percent(metric.low)} to {percent(metric.high)})"
    return f"{where}: {percent(metric.value)}%{interval}, {metric.n:,} prompts"


def point_along(
    panel: Panel, y: float, metric: Estimate, series: int, title: str, figure: bool = True
) -> Markup | None:
    """A metric on a horizontal line: its interval, its mark, and its figure beside it."""
    if metric.value is None:
        return text(panel.left + 4, y + 4, "none", "tick")
    low, high = _ends(metric)
    return spread(panel, y, (low, metric.value, high), series, title, percent(metric.value) if figure else None)


def spread(
    panel: Panel, y: float, shares: tuple[float, float, float], series: int, title: str, words: str | None
) -> Markup:
    """A mark on a horizontal line from low to high (`shares` of the panel); its words beside it."""
    low, middle, high = map(panel.x, shares)
    value = None
    if words is not None:
        fits = high + 37 <= panel.right + 6
        value = text(high + 7 if fits else low - 7, y + 4, words, "value", "start" if fits else "end")
    return element(
        "g",
        element("title", title),
        _hover_line(low, y, high, y),
        element("line", x1=low, x2=high, y1=y, y2=y, class_=f"interval s{series % SERIES}"),
        mark(middle, y, series),
        value,
        class_="point",
    )


def curve(
    panel: Panel, places: Sequence[float], metrics: Sequence[Estimate], series: int, hovers: Sequence[str]
) -> Markup:
    """Metrics at horizontal positions: their marks joined by a line, their intervals as a band behind it."""
    shown = [
        (x, metric, title) for x, metric, title in zip(places, metrics, hovers, strict=True) if metric.value is not None
    ]
    tops = [f"{x:.1f},{panel.y(_ends(metric)[1]):.1f}" for x, metric, _ in shown]
    bottoms = [f"{x:.1f},{panel.y(_ends(metric)[0]):.1f}" for x, metric, _ in reversed(shown)]
    values = [(x, panel.y(metric.value or 0)) for x, metric, _ in shown]
    marks = [
        element("g", element("title", title), _hover_line(x - 1, y, x + 1, y), mark(x, y, series), class_="point")
        for (x, y), (_, _, title) in zip(values, shown, strict=True)
    ]
    return join(
        element("polygon", points=" ".join([*tops, *bottoms]), class_=f"band c{series % SERIES}"),
        element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in values), class_=f"curve s{series % SERIES}"),
        marks,
    )


def bar(panel: Panel, left: float, width: float, metric: Estimate, shade: int, title: str) -> Markup:
    """A metric as a bar from 0, its interval as a whisker, its figure above."""
    middle = left + width / 2
    if metric.value is None:
        return text(middle, panel.bottom - 6, "–", "tick", "middle")
    low, high = _ends(metric)
    top = panel.y(metric.value)
    return element(
        "g",
        element("title", title),
        element("rect", x=left, y=top, width=width, height=panel.bottom - top, class_=f"bar m{shade}"),
        element("line", x1=middle, x2=middle, y1=panel.y(low), y2=panel.y(high), class_="whisker"),
        text(middle, panel.y(high) - 6, percent(metric.value), "value", "middle"),
        class_="point",
    )


def _ends(metric: Estimate) -> tuple[float, float]:
    assert metric.value is not None
    return (
        metric.value if metric.low is None else metric.low,
        metric.value if metric.high is None else metric.high,
    )


def _hover_line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    """An invisible wide line, so that the pointer need not hit a line of two pixels."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="touch")


def swatch(x: float, y: float, shade: int) -> Markup:
    """The colour of a bar, for a legend with its baseline at y."""
    return element("rect", x=x, y=y - 10, width=12.0, height=12.0, rx=2, class_=f"bar m{shade}")
