"""Renderer of a document as HTML: its tables, its caveats and its notes."""

from collections.abc import Iterable
from urllib.parse import quote

from safechain_ray.report.document import Cell, Column, Document, Table
from safechain_ray.report.escape import printable
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.renderers import RANGE


def html_table(table: Table) -> Markup:
    """The table with its title, its cells as text, and its caption as a legend below."""
    title = printable(table.title)
    head = [
        element("th", _text(column.heading), scope="col", class_="number" if column.is_figure else None)
        for column in table.columns
    ]
    bodies = [element("tbody", [_row(row, table.columns) for row in group]) for group in table.groups]
    drawn = element("table", element("caption", title), element("thead", element("tr", head)), bodies)
    return join(
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=title),
        element("p", printable(table.caption), class_="legend") if table.caption else None,
    )


def html_caveats(caveats: Iterable[str]) -> Markup:
    return join([element("p", printable(caveat), class_="caveat") for caveat in caveats])


def html_notes(notes: Iterable[str]) -> Markup:
    return element("ul", [element("li", printable(note)) for note in notes], class_="legend")


def caveats_and_notes(document: Document, without_notes: str) -> Markup:
    """What a page shows before any figure; the sentence `without_notes` where there is no note."""
    notes = html_notes(document.notes) if document.notes else element("p", without_notes, class_="legend")
    return join(html_caveats(document.caveats), notes)


def _row(row: tuple[Cell, ...], columns: tuple[Column, ...]) -> Markup:
    first, *rest = row
    cells = [_data_cell(cell, column) for cell, column in zip(rest, columns[1:], strict=True)]
    return element("tr", element("th", _linked(first, _text(first.lines)), scope="row"), cells)


def _data_cell(cell: Cell, column: Column) -> Markup:
    text = _text(cell.lines)
    if column.is_figure:
        text = RANGE.sub("–", text)
    content: Markup | str = text
    if cell.has_details and len(cell.lines) > 1:
        first, *details = text.split("\n")
        content = join(element("strong", first), [element("span", line, class_="detail") for line in details])
    classes = [*(["number"] if column.is_figure else []), *(["warn"] if cell.is_warning else [])]
    return element("td", _linked(cell, content), class_=" ".join(classes) or None)


def _linked(cell: Cell, content: str) -> str:
    # Quoted whole: what looks like a scheme (javascript:) becomes part of a file's name.
    return element("a", content, href=quote(cell.link)) if cell.link else content


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(printable, lines))
