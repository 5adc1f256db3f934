"""HTML and SVG built from elements, so that no text ever becomes markup."""

from collections.abc import Iterable
from html import escape
from typing import Any, TypeAlias

from safechain_ray.report.escape import printable_lines


class Markup(str):
    """Text that is markup already; `element` escapes every other string."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"

_VOID = frozenset({"br", "hr", "input", "meta"})


def element(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """`element("td", "4 < 5", class_="number")`: `<td class="number">4 &lt; 5</td>`.

    An attribute of None or False is left out, one of True has no value; `_` in a name is written `-`. Text loses ANSI
    sequences, control characters and marks of text direction, as it does in a terminal.
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
