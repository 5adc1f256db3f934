"""A table made for the terminal, as HTML: what is counted once is laid out once."""

from rich.table import Table
from rich.text import Text

from safechain_ray.report.html.markup import Markup, element, join


def html_table(table: Table) -> Markup:
    """`table` with its title, its caption as a legend, and its cells as text, whatever they hold."""
    title = _plain(table.title)
    head = [
        element("th", _plain(column.header), scope="col", class_="number" if place else None)
        for place, column in enumerate(table.columns)
    ]
    cells = [[_plain(cell) for cell in column.cells] for column in table.columns]
    rows = [
        element("tr", element("th", first, scope="row"), [element("td", words, class_="number") for words in rest])
        for first, *rest in zip(*cells, strict=True)
    ]
    drawn = element("table", element("caption", title), element("thead", element("tr", head)), element("tbody", rows))
    return join(
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=title),
        element("p", _plain(table.caption), class_="legend"),
    )


def _plain(cell: object) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
