"""Figures in words, before any format: tables of lines of text, with what is said before and after them.

Texts may hold foreign names as they are; whoever writes a format makes them harmless in it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, in lines. A figure stands at the right and is never broken; other text may be folded."""

    heading: tuple[str, ...]
    is_figure: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """Lines of one cell. `style` is for terminals alone: a style of rich, without meaning of its own."""

    lines: tuple[str, ...]
    style: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are columns, in groups with a rule between them; the caption says how to read."""

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


NOTES_HEADING = "Read with care"


def text_column(heading: str) -> Column:
    return Column((heading,), is_figure=False)


def figure_columns(*headings: str) -> tuple[Column, ...]:
    """Columns of figures with headings of one line each."""
    return tuple(Column((heading,)) for heading in headings)


def cell(*lines: str, style: str = "") -> Cell:
    return Cell(lines, style)
