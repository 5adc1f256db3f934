"""A document as Markdown: CommonMark with GitHub's tables."""

import re
from collections.abc import Iterable, Iterator

from safechain_ray.report.document import NOTES_HEADING, Document, Table
from safechain_ray.report.escape import printable

_MARKS = re.compile(r"[\\`*_\[\]<>|#&~$]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_OPENS_A_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")


def markdown(document: Document) -> str:
    """The document, ended by a line end; whatever a text holds is shown as it is."""
    return "\n".join(_lines(document))


def inert(text: str) -> str:
    """`text` without what Markdown, HTML or a formula would read as a mark, at the start of a line too."""
    return _OPENS_A_BLOCK.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", printable(text)))


def _lines(document: Document) -> Iterator[str]:
    for caveat in document.caveats:
        yield from (f"**{inert(caveat)}**", "")
    if document.title:
        yield from (f"# {inert(document.title)}", "")
    for table in document.tables:
        yield from (f"## {inert(table.title)}", "", *_table(table), "")
        if table.caption:
            yield from (inert(table.caption), "")
    if document.notes:
        yield from (f"**{NOTES_HEADING}**", "", *(f"- {inert(note)}" for note in document.notes), "")


def _table(table: Table) -> Iterator[str]:
    """Markdown knows no groups of rows and no lines in a cell: these are parted by semicolons."""
    yield _row("; ".join(map(inert, column.heading)) for column in table.columns)
    yield _row("---:" if column.is_figure else "---" for column in table.columns)
    for group in table.groups:
        for row in group:
            yield _row("; ".join(map(inert, cell.lines)) for cell in row)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
