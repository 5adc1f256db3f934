"""The document model: tables of text cells, with notes before and after, independent of any output format.

Texts may hold foreign names unchanged; each renderer makes them harmless in its own format.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NOTES_HEADING = "Read with care"


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, in lines. Figures are aligned right and never wrapped; other text may wrap."""

    heading: tuple[str, ...]
    is_figure: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """Lines of one cell.

    `has_details`: the lines after the first are the figure's interval, bounds or share; HTML sets them smaller.
    `is_warning`: the reader should notice it; terminals and HTML colour it.
    `style`: a style of rich, for terminals only, without meaning of its own.
    `link`: a relative path to a page about the cell, for HTML only.
    """

    lines: tuple[str, ...]
    has_details: bool = False
    is_warning: bool = False
    style: str = ""
    link: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with one cell per column, in groups separated by a rule; the caption explains how to read them."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[Row, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """`caveats` and then the `title` come before every figure, `notes` after them."""

    tables: tuple[Table, ...]
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    title: str = ""


def text_column(heading: str) -> Column:
    return Column((heading,), is_figure=False)


def figure_columns(*headings: str) -> tuple[Column, ...]:
    """Columns of figures with headings of one line each."""
    return tuple(Column((heading,)) for heading in headings)


def cell(*lines: str, is_warning: bool = False, style: str = "", link: str = "") -> Cell:
    return Cell(lines, is_warning=is_warning, style=style, link=link)


def figure_cell(lines: Iterable[str], is_warning: bool = False) -> Cell:
    """A figure, and below it its interval, bounds or share."""
    return Cell(tuple(lines), has_details=True, is_warning=is_warning)
