"""What a plot shows, read from its SVG."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring

SVG = "{http://www.w3.org/2000/svg}"


def points(svg: str) -> Iterator[tuple[str, Element]]:
    """Each figure that has a hover text, with its group."""
    for group in fromstring(svg).iter(f"{SVG}g"):
        yield group.findtext(f"{SVG}title", ""), group


def hovers(svg: str) -> list[str]:
    return [hover for hover, _ in points(svg)]


def texts(svg: str, kind: str | None = None) -> list[str]:
    """All lines of text, or those of a class, without hover texts."""
    return [text.text or "" for text in fromstring(svg).iter(f"{SVG}text") if kind in (None, text.get("class"))]


def gridlines(svg: str) -> list[float]:
    """The horizontal places of vertical gridlines."""
    lines = [path.get("d", "") for path in fromstring(svg).iter(f"{SVG}path") if path.get("stroke") == "var(--line)"]
    return [ends_of(line)[0] for line in lines]


def ends_of(line: str) -> tuple[float, float]:
    """The horizontal ends of a straight path."""
    start, end = line.removeprefix("M").split("L")
    return float(start.split()[0]), float(end.split()[0])
