"""HTML and SVG built from elements, so that no text ever becomes markup.

A table of a document as HTML: what is laid out for the terminal, Markdown and LaTeX stands here too.
"""

from collections.abc import Iterable
from html import escape
from typing import Any, TypeAlias

from safechain_ray.report.document import Cell, Column, Table
from safechain_ray.report.escape import printable, printable_lines


class Markup(str):
    """Text that is markup already; every other string is escaped where it is put into an element."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"

_VOID = frozenset({"br", "hr", "input", "meta"})


def element(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """`element("td", "4 < 5", class_="number")`: `<td class="number">4 &lt; 5</td>`.

    An attribute of None or False is left out, one of True stands without a value; `_` in a name is written `-`. Text
    loses ANSI sequences, control characters and marks of text direction, as it does in a terminal.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """The children one after the other; lists are flattened, None is left out."""
    return Markup("".join(map(_child, children)))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escape(printable_lines(str(child)), quote=False)
    return join(*child)


def _attribute(key: str, value: Any) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    # A plot needs no more than hundredths of a pixel.
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(printable_lines(text))}"'


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
