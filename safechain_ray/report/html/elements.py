"""HTML and SVG built from elements, so that no text ever becomes markup; a document as HTML; the shell of every page.

The shell is a template under a content security policy without network access.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template
from typing import Any, TypeAlias
from urllib.parse import quote

from safechain_ray.report.document import Cell, Column, Document, Table, printable, printable_lines
from safechain_ray.report.html.samples import PackedSamples
from safechain_ray.report.renderers import RANGE


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


SCRIPTS = (
    *("text", "data", "definitions", "sort", "filters", "list", "sample", "address", "beside"),
    *("notes", "note_files", "note_editor", "samples", "keys", "plots", "main"),
)
"""The files of js/, in the order in which the page runs them, as one script."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with its heading; `key` names its anchor. The page offers to skip what is no reference."""

    key: str
    title: str
    body: Markup
    is_reference: bool = False


def assemble(title: str, line: str, sections: Sequence[Section], samples: PackedSamples | None = None) -> str:
    """The document. Without `samples` it has no sample browser."""
    style = read_asset("report.css")
    script = "\n".join(["(() => {", '"use strict";', *(read_asset(f"js/{name}.js") for name in SCRIPTS), "})();"])
    chunks = [
        f'<script type="application/octet-stream" id="chunk{number}">{chunk}</script>'
        for number, chunk in enumerate(samples.chunks if samples else ())
    ]
    return Template(read_asset("template.html")).substitute(
        policy=escape(_policy(style, script)),
        title=escape(title),
        style=style,
        body=_body(title, line, sections),
        index=samples.index if samples else "",
        ids=samples.ids if samples else "",
        script=script,
        chunks="\n".join(chunks),
    )


def read_asset(name: str) -> str:
    """A file of this folder, as text."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def _body(title: str, line: str, sections: Sequence[Section]) -> Markup:
    links = [element("li", element("a", section.title, href=f"#{section.key}")) for section in sections]
    scheme = element("button", "◐ Dark or light", type="button", id="scheme", class_="quiet")
    header = element("header", element("div", element("h1", title), element("p", line, class_="line")), scheme)
    drawn = [
        element(
            "section",
            element("h2", section.title, id=f"{section.key}-title"),
            section.body,
            id=section.key,
            aria_labelledby=f"{section.key}-title",
        )
        for section in sections
    ]
    last = [section for section in sections if not section.is_reference][-1]
    return join(
        element("a", f"Skip to {last.title}", href=f"#{last.key}", class_="skip"),
        header,
        element("nav", element("ul", links), aria_label="Sections"),
        element("main", drawn),
    )


def _policy(style: str, script: str) -> str:
    """Forbids every request, every script but this one, and any text that becomes markup."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def term_link(key: str, words: str) -> Markup:
    """`words` with the definition of the term `key`: a link into the glossary, which the page's script also shows."""
    return element(
        "a", words, class_="term", href=f"#term-{key}", data_term=key, aria_describedby=f"term-{key}-meaning"
    )


def html_table(table: Table) -> Markup:
    """The table with its title, its cells as text, and its caption as a legend below.

    Names of figures are links into the glossary, so the page needs one.
    """
    title = printable(table.title)
    head = [
        element("th", _defined(column.term, _text(column.heading)), scope="col", class_=column.is_figure and "number")
        for column in table.columns
    ]
    bodies = [element("tbody", [_row(row, table.columns) for row in group]) for group in table.groups]
    caption = element("caption", _defined(table.term, title))
    drawn = element("table", caption, element("thead", element("tr", head)), bodies, data_sortable=table.is_sortable)
    return join(
        element("div", drawn, class_="table lines", tabindex=0, role="region", aria_label=title),
        html_legend(printable(table.caption)) if table.caption else None,
    )


_PHRASES = {
    "95% interval": "interval",
    "bounds": "bounds",
    "ConsSafe@K": "cons-safe-at-k",
    "Safe@K": "safe-at-k",
    "Safe@1": "safe-at-1",
    "pass@1": "pass-at-k",
}
"""Words of captions that are defined, longer ones first."""

_ANY_PHRASE = re.compile("|".join(map(re.escape, _PHRASES)))


def html_legend(caption: str) -> Markup:
    """The caption of a table, with links to the definitions of its words, each once."""
    words: list[str] = []
    linked: set[str] = set()
    end = 0
    for found in _ANY_PHRASE.finditer(caption):
        if found[0] not in linked:
            words += [caption[end : found.start()], term_link(_PHRASES[found[0]], found[0])]
            linked.add(found[0])
            end = found.end()
    return element("p", words, caption[end:], class_="legend")


def _defined(term: str, words: str) -> str:
    return term_link(term, words) if term else words


_TERM_LINK = re.compile(r'<a class="term" href="#term-([a-z0-9-]+)"[^>]*>(.*?)</a>', re.DOTALL)
"""No text contains such a link, because its `<` is escaped."""


def linked_terms(body: Markup) -> set[str]:
    """The keys of the terms that `body` links to."""
    return {key for key, _ in _TERM_LINK.findall(body)}


def document_tables(document: Document) -> str:
    """Caveats, tables and notes as a notebook shows them: without a page around them, so without its glossary."""
    tables = _TERM_LINK.sub(r"\2", join(*map(html_table, document.tables)))
    return join(html_caveats(document.caveats), Markup(tables), html_notes(document.notes))


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
    return element("a", content, href=quote(cell.link)) if cell.link else _defined(cell.term, content)


def _text(lines: Iterable[str]) -> str:
    return "\n".join(map(printable, lines))
