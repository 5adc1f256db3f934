"""A document on a terminal, or as plain text where there is none.

A document as Markdown: CommonMark with GitHub's tables.
"""

import re
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from safechain_ray.report.document import NOTES_HEADING, Document, Table
from safechain_ray.report.escape import printable


def print_document(document: Document, console: Console) -> None:
    """Prints caveats, tables, notes; whatever a text holds is inert."""
    for caveat in document.caveats:
        console.print(Text(printable(caveat), style="bold yellow"))
    if document.title:
        console.print(Text(printable(document.title), style="bold"))
    for table in document.tables:
        console.print(rich_table(table))
    if document.notes:
        console.print(Text(NOTES_HEADING, style="bold"))
    for note in document.notes:
        console.print(Text(f"- {printable(note)}"))


def rich_table(table: Table) -> RichTable:
    """The table for rich; one of many columns stands closer, to fit 80 characters."""
    shown = RichTable(
        title=Text(printable(table.title), style="bold"),
        title_justify="left",
        caption=Text(printable(table.caption)) if table.caption else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0) if len(table.columns) > 5 else (0, 1),
    )
    for column in table.columns:
        heading = Text("\n".join(map(printable, column.heading)))
        if column.is_figure:
            shown.add_column(heading, justify="right", no_wrap=True)
        else:
            shown.add_column(heading, overflow="fold")
    for group in table.groups:
        for row in group:
            shown.add_row(*(Text("\n".join(map(printable, cell.lines)), style=cell.style) for cell in row))
        shown.add_section()
    return shown


_MARKS = re.compile(r"[\\`*_\[\]<>|#&~$]|(?<=/)/|\.(?=[^\W\d_])|(?<=www)\.", re.IGNORECASE)

"""Marks of Markdown, HTML and formulas, and what makes a link of an address: `//`, `www.`, the dot in `example.org`."""

_OPENS_A_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")


def markdown(document: Document) -> str:
    """The document, ended by a line end; whatever a text holds is shown as it is."""
    return "\n".join(_lines(document))


def inert(text: str) -> str:
    """`text` without what Markdown, HTML or a formula would read as a mark, at the start of a line too."""
    marked = _MARKS.sub(r"\\\g<0>", printable(text))
    return _OPENS_A_BLOCK.sub(r"\1\\\2", " ".join(map(_no_mail, marked.split(" "))))


def _no_mail(word: str) -> str:
    """Mail addresses become links after all escapes are resolved, those after `mailto:` without a dot too.

    Only an element within the address prevents the link.
    """
    if "." not in word.partition("@")[2] and ":" not in word.rpartition("@")[0]:
        return word
    return word[:1] + word[1:].replace("@", "<!-- -->@")


def _lines(document: Document) -> Iterator[str]:
    for caveat in filter(printable, document.caveats):
        yield from (f"**{inert(caveat)}**", "")
    if document.title:
        yield from (f"# {inert(document.title)}", "")
    for table in document.tables:
        yield from (f"## {inert(table.title)}", "", *_table(table), "")
        if table.caption:
            yield from (inert(table.caption), "")
    if document.notes:
        yield from (f"**{NOTES_HEADING}**", "", *(f"- {inert(note)}" for note in filter(printable, document.notes)), "")


def _table(table: Table) -> Iterator[str]:
    """Markdown knows no groups of rows and no lines in a cell: these are parted by semicolons."""
    yield _row("; ".join(map(inert, column.heading)) for column in table.columns)
    yield _row("---:" if column.is_figure else "---" for column in table.columns)
    for group in table.groups:
        for row in group:
            yield _row("; ".join(map(inert, cell.lines)) for cell in row)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
