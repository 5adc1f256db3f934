"""The document model: tables of text cells, with notes before and after, independent of any output format.

Texts may hold foreign names unchanged; each renderer makes them harmless in its own format.
`printable` and `escape` do so for a terminal and for rich.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

NOTES_HEADING = "Read with care"


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, in lines. Figures are aligned right and never wrapped; other text may wrap.

    `term` is the key of the heading's definition in the glossary, for HTML only.
    """

    heading: tuple[str, ...]
    is_figure: bool = True
    term: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """Lines of one cell.

    `has_details`: the lines after the first are the figure's interval, bounds or share; HTML sets them smaller.
    `is_warning`: the reader should notice it; terminals and HTML colour it.
    `style`: a style of rich, for terminals only, without meaning of its own.
    `link`: a relative path to a page about the cell, for HTML only.
    `term`: the key of the cell's definition in the glossary, for HTML only.
    """

    lines: tuple[str, ...]
    has_details: bool = False
    is_warning: bool = False
    style: str = ""
    link: str = ""
    term: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with one cell per column, in groups separated by a rule; the caption explains how to read them.

    `term` is the key of the title's definition in the glossary, for HTML only.
    `is_sortable`: every row is complete without the row before it, so a page may sort them within their groups.
    """

    title: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[Row, ...], ...]
    caption: str = ""
    term: str = ""
    is_sortable: bool = False


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


_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL
)

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_EMOJI = re.compile(r":(?=[^\s:]{1,80}:)")

_UNPRINTABLE = frozenset({"Cc", "Cs"})


def printable(text: str) -> str:
    """`text` on one line, without ANSI sequences, control characters, lone surrogates and marks of text direction.

    Markup stays as it is: for `rich.text.Text`, which does not parse it, and for plain log lines.
    """
    return _without_controls(" ".join(_ANSI.sub("", text).split())).strip()


def printable_lines(text: str) -> str:
    """`printable` with line ends and spaces, for a message of several lines that quotes foreign text."""
    return "\n".join(map(_without_controls, _ANSI.sub("", text).expandtabs().splitlines()))


def _without_controls(line: str) -> str:
    return "".join(
        character
        for character in line
        if unicodedata.category(character) not in _UNPRINTABLE and character not in _BIDI
    )


def escape(text: str) -> str:
    """`printable` text for a string that rich parses as markup: no bracket opens a tag, in any surrounding text.

    Backslashes before a bracket and at the end are doubled, so that none escapes a tag of the string around it; rich
    shows them doubled where no tag follows. A tag without a style parts what rich would replace by an emoji (`:v:`).
    """
    quoted = re.sub(r"(?<!\\)(\\*)(\[|$)", lambda match: 2 * match[1] + ("\\[" if match[2] else ""), printable(text))
    return _EMOJI.sub(":[none][/none]", quoted)
