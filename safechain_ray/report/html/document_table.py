"""A table of a document as HTML: what is laid out for the terminal, Markdown and LaTeX stands here too."""

from safechain_ray.report.document import Cell, Column, Table
from safechain_ray.report.escape import printable
from safechain_ray.report.html.markup import Markup, element, join


def html_table(table: Table) -> Markup:
    """`table` with its title, its caption as a legend, and its cells as text, whatever they hold."""
    title = printable(table.title)
    head = [element("th", _lines(column.heading), scope="col", class_=_kind(column)) for column in table.columns]
    bodies = [
        element(
            "tbody",
            [
                element(
                    "tr",
                    element("th", _text(row[0]), scope="row"),
                    [
                        element("td", _text(cell), class_=_kind(column))
                        for column, cell in zip(table.columns[1:], row[1:], strict=True)
                    ],
                )
                for row in group
            ],
        )
        for group in table.groups
    ]
    drawn = element("table", element("caption", title), element("thead", element("tr", head)), bodies)
    return join(
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=title),
        element("p", printable(table.caption), class_="legend") if table.caption else None,
    )


def _kind(column: Column) -> str | None:
    return "number" if column.is_figure else None


def _text(cell: Cell) -> str:
    return _lines(cell.lines)


def _lines(lines: tuple[str, ...]) -> str:
    return "\n".join(map(printable, lines))
