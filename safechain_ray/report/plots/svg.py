"""Plots as SVG for a page: matplotlib's picture without style attributes, in the colours and the font of the page.

The content security policy of a page refuses style attributes, so they become attributes of SVG. Colours become the
variables of report.css, so that one picture serves light and dark. Ids are renumbered: those of matplotlib repeat.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from safechain_ray.report.document import printable_lines
from safechain_ray.report.plots.sheet import NARROW, PALETTE, WIDE, Points, Sheet, plot_style

NAMES = {colour: f"var(--{name})" for name, colour in PALETTE.items()} | {"none": "none"}

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_PAIR = re.compile(rf"({_NUMBER.pattern}) ({_NUMBER.pattern})")
_DEFAULTS = {"font-size": "12", "text-anchor": "start", "stroke-linejoin": "round", "stroke-linecap": "butt"}
_LEFT_TO_THE_PAGE = frozenset({"font-family"})


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure of the report: the same picture at two widths, each a whole SVG with its legend."""

    key: str
    title: str
    caption: str
    wide: str
    narrow: str


def draw_plot(key: str, title: str, caption: str, description: str, build: Callable[[float], Sheet]) -> Plot:
    """The plot that `build` draws at a given width; `description` is a sentence for screen readers."""
    prefix = sha256(key.encode("utf-8", "replace")).hexdigest()[:6]
    with plot_style():
        wide, narrow = (
            page_svg(build(width), description, f"{letter}{prefix}", name)
            for width, letter, name in ((WIDE, "w", "wide"), (NARROW, "n", "narrow"))
        )
    return Plot(key, title, caption, wide, narrow)


def page_svg(sheet: Sheet, description: str, prefix: str, name: str) -> str:
    """The SVG of a sheet for a page; its ids start with `prefix`, its class is `name`."""
    buffer = io.StringIO()
    sheet.figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _Converter(sheet, prefix).convert(fromstring(buffer.getvalue()), description, name)


@dataclass(slots=True)
class _Converter:
    sheet: Sheet
    prefix: str
    groups: Mapping[str, Element] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    """The outline of each shape that matplotlib defines once, by its id."""
    marks: dict[str, str] = field(default_factory=dict)
    """The ids of the outlines in use."""

    def convert(self, drawn: Element, description: str, name: str) -> str:
        self.groups = {group.get("id", ""): group for group in drawn.iter(f"{_SVG}g")}
        self.shapes = {path.get("id", ""): path.get("d", "") for path in drawn.iter(f"{_SVG}path") if path.get("id")}
        label = printable_lines(description)
        root = Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": name,
                "viewBox": drawn.get("viewBox", ""),
                "width": f"{self.sheet.width:g}",
                "height": f"{self.sheet.height:g}",
                "role": "img",
                "aria-label": label,
                "font-size": "12",
                "fill": "var(--ink)",
                "stroke-linejoin": "round",
            },
        )
        SubElement(root, "title").text = label
        defs = SubElement(root, "defs")
        root.extend(self._children(drawn))
        for outline, mark in self.marks.items():
            SubElement(defs, "path", {"id": mark, "d": outline, "stroke": "var(--card)", "stroke-width": "1.25"})
        if not self.marks:
            root.remove(defs)
        return tostring(root, encoding="unicode")

    def _children(self, node: Element) -> Iterator[Element]:
        """What `node` draws, without groups other than those of figures with a hover text."""
        started = {points.parts[0][0]: points for points in self.sheet.points}
        in_points = set(chain.from_iterable(chain.from_iterable(points.parts for points in self.sheet.points)))

        def children(node: Element) -> Iterator[Element]:
            for child in node:
                key = child.get("id", "")
                if key in started:
                    yield from self._points(started[key])
                elif key in self.sheet.words and key not in in_points:
                    yield from self._shapes(key)
                elif child.tag == f"{_SVG}g" and key not in in_points and key != "paper":
                    yield from children(child)
                elif child.tag in (f"{_SVG}path", f"{_SVG}use", f"{_SVG}text"):
                    yield self._shape(child)

        return children(node)

    def _points(self, points: Points) -> Iterator[Element]:
        shapes = [[shape for key in part for shape in self._shapes(key)] for part in points.parts]
        for hover, *together in zip(points.hovers, *shapes, strict=True):
            group = Element("g", {"class": "point"})
            SubElement(group, "title").text = printable_lines(hover)
            if points.with_intervals:  # hundreds of equal lines are shorter with a class than with attributes
                line = {"d": together[0].get("d", "")}
                SubElement(group, "path", line | {"class": "touch"})
                together[0] = Element("path", line | {"class": "interval", "stroke": together[0].get("stroke", "")})
            group.extend(together)
            yield group

    def _shapes(self, key: str) -> list[Element]:
        """The shapes of one artist; its words instead of their stand-ins."""
        if key not in self.groups:
            return []
        drawable = (f"{_SVG}path", f"{_SVG}use", f"{_SVG}text")
        found = [
            self._shape(node) for node in self.groups[key].iter() if node.tag in drawable and node.get("id") is None
        ]
        if key in self.sheet.words:
            words = self.sheet.words[key]
            for shape, line in zip(found, words.lines, strict=False):  # an empty line is not drawn
                shape.text = line
                shape.set("class", words.kind)
        return found

    def _shape(self, node: Element) -> Element:
        attributes = dict(_attributes(node.get("style", "")))
        if node.tag == f"{_SVG}text":
            shape = Element("text", _position(node) | attributes)
            shape.text = node.text
            return shape
        if node.tag == f"{_SVG}path":
            return Element("path", {"d": _outline(node.get("d", ""))} | attributes)
        x, y = float(node.get("x", "0")), float(node.get("y", "0"))
        outline = self.shapes[node.get(_LINK, "").removeprefix("#")]
        if x == 0:  # an area, which matplotlib defines and then moves down by the height of the figure
            return Element("path", {"d": _outline(outline, y)} | attributes)
        mark = self.marks.setdefault(_outline(outline), f"{self.prefix}{len(self.marks)}")
        place = {"href": f"#{mark}", "x": _rounded(x), "y": _rounded(y)}
        return Element("use", place | {"fill": attributes["fill"]})


def _attributes(style: str) -> Iterator[tuple[str, str]]:
    """The declarations of a style attribute as attributes of SVG.

    Raises KeyError for a colour outside the palette: it would not follow the scheme of the page.
    """
    for declaration in filter(None, style.split("; ")):
        name, value = declaration.split(": ", 1)
        value = value.removesuffix("px")
        if name in ("fill", "stroke"):
            value = NAMES[value]
        elif _NUMBER.fullmatch(value):
            value = f"{float(value):g}"
        if name not in _LEFT_TO_THE_PAGE and _DEFAULTS.get(name) != value and (name, value) != ("fill", "var(--ink)"):
            yield name, value


def _position(text: Element) -> dict[str, str]:
    if (x := text.get("x")) is not None:
        return {"x": _rounded(float(x)), "y": _rounded(float(text.get("y", "0")))}
    x, y = _NUMBER.findall(text.get("transform", ""))[:2]
    return {"x": _rounded(float(x)), "y": _rounded(float(y))}


def _outline(path: str, down: float = 0.0) -> str:
    """The commands of a path, moved down, with coordinates of a tenth of a pixel."""
    moved = _PAIR.sub(lambda pair: f"{_rounded(float(pair[1]))} {_rounded(float(pair[2]) + down)}", path)
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", moved).strip()


def _rounded(number: float) -> str:
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
