"""Renderers of a document: terminal (rich), Markdown (CommonMark with GitHub's tables) and LaTeX (booktabs).

Each renderer makes foreign texts inert in its own format. report/html/elements.py renders HTML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from safechain_ray.report.document import NOTES_HEADING, Cell, Column, Document, Table, printable

WARNING_STYLE = "yellow"

LATEX_HEAD = (
    "% Needs \\usepackage{booktabs}; names in letters beyond Latin need LuaLaTeX or XeLaTeX with a font for them."
)

LATEX_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after \\ it would open an option
    "]": "{]}",
    "*": "{*}",  # after \\ it would be a part of it
}
"""The replacement of each character that is not plain text to LaTeX."""

RANGE = re.compile(r"(?<=\d)-(?=\d)")
"""The hyphen of an interval in a figure, which LaTeX and HTML typeset as a dash."""

_MARKDOWN_MARKS = re.compile(r"[\\`*_\[\]<>|#&~$]|(?<=/)/|\.(?=[^\W\d_])|(?<=www)\.", re.IGNORECASE)
"""Marks of Markdown, HTML and formulas, and what makes a link of an address: `//`, `www.`, the dot in `example.org`."""

_OPENS_A_BLOCK = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")
_LATEX_SPECIAL = re.compile("|".join(map(re.escape, LATEX_COMMANDS)))
_SECOND_HYPHEN = re.compile(r"(?<=-)-")  # LaTeX joins two hyphens to a dash
_MINUS = re.compile(r"(?<!\w)-(?=\d)")


def print_document(document: Document, console: Console) -> None:
    """Print caveats, tables and notes."""
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
    """The table for rich; many columns get less padding, to fit 80 characters."""
    drawn = RichTable(
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
            drawn.add_column(heading, justify="right", no_wrap=True)
        else:
            drawn.add_column(heading, overflow="fold")
    for group in table.groups:
        for row in group:
            drawn.add_row(*map(_rich_cell, row))
        drawn.add_section()
    return drawn


def markdown(document: Document) -> str:
    """The document as Markdown, with a final newline."""
    return "\n".join(_markdown_lines(document))


def latex(document: Document) -> str:
    """The document as LaTeX for \\input, with a final newline."""
    return "\n".join([LATEX_HEAD, *_latex_lines(document), ""])


def escape_markdown(text: str) -> str:
    """`text` with every mark of Markdown, HTML and formulas escaped, also those at the start of a line."""
    marked = _MARKDOWN_MARKS.sub(r"\\\g<0>", printable(text))
    return _OPENS_A_BLOCK.sub(r"\1\\\2", " ".join(map(_without_mail_link, marked.split(" "))))


def escape_latex(text: str) -> str:
    """`text` with a command in place of each character that LaTeX would interpret."""
    return _SECOND_HYPHEN.sub("{-}", _LATEX_SPECIAL.sub(lambda match: LATEX_COMMANDS[match[0]], printable(text)))


def _rich_cell(cell: Cell) -> Text:
    style = cell.style or (WARNING_STYLE if cell.is_warning else "")
    return Text("\n".join(map(printable, cell.lines)), style=style)


def _without_mail_link(word: str) -> str:
    """Mail addresses become links after all escapes are resolved, those after `mailto:` without a dot too.

    Only an element within the address prevents the link.
    """
    if "." not in word.partition("@")[2] and ":" not in word.rpartition("@")[0]:
        return word
    return word[:1] + word[1:].replace("@", "<!-- -->@")


def _markdown_lines(document: Document) -> Iterator[str]:
    for caveat in filter(printable, document.caveats):
        yield from (f"**{escape_markdown(caveat)}**", "")
    if document.title:
        yield from (f"# {escape_markdown(document.title)}", "")
    for table in document.tables:
        yield from (f"## {escape_markdown(table.title)}", "", *_markdown_rows(table), "")
        if table.caption:
            yield from (escape_markdown(table.caption), "")
    notes = list(filter(printable, document.notes))
    if notes:
        yield from (f"**{NOTES_HEADING}**", "", *(f"- {escape_markdown(note)}" for note in notes), "")


def _markdown_rows(table: Table) -> Iterator[str]:
    """Markdown has neither groups of rows nor lines in a cell: semicolons separate the lines."""
    alignment = ("---:" if column.is_figure else "---" for column in table.columns)
    rows = [[cell.lines for cell in row] for group in table.groups for row in group]
    heading, *cells = [
        f"| {' | '.join('; '.join(map(escape_markdown, lines)) for lines in row)} |"
        for row in ([column.heading for column in table.columns], *rows)
    ]
    yield from (heading, f"| {' | '.join(alignment)} |", *cells)


def _latex_lines(document: Document) -> Iterator[str]:
    for heading in filter(printable, (*document.caveats, document.title)):
        yield from (rf"\par\noindent\textbf{{{escape_latex(heading)}}}\par", "")
    for table in document.tables:
        yield from (*_latex_table(table), "")
    notes = list(filter(printable, document.notes))
    if notes:
        yield rf"\par\noindent\textbf{{{NOTES_HEADING}}}"
        yield from (r"\begin{itemize}", *(rf"  \item {{}}{escape_latex(note)}" for note in notes), r"\end{itemize}")


def _latex_table(table: Table) -> Iterator[str]:
    caption = ". ".join(filter(None, (table.title.rstrip("."), table.caption)))
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{escape_latex(caption)}}}"
    yield rf"  \begin{{tabular}}{{{''.join(map(_alignment, table.columns))}}}"
    yield r"    \toprule"
    yield _latex_row(_stack(map(escape_latex, column.heading), column) for column in table.columns)
    for group in filter(None, table.groups):
        yield r"    \midrule"
        for row in group:
            yield _latex_row(
                _stack(map(_latex_figure if column.is_figure else escape_latex, cell.lines), column)
                for cell, column in zip(row, table.columns, strict=True)
            )
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def _latex_row(cells: Iterable[str]) -> str:
    return rf"    {' & '.join(cells)} \\"


def _latex_figure(text: str) -> str:
    """A figure's hyphens are ranges and minus signs."""
    return RANGE.sub("--", _MINUS.sub("$-$", escape_latex(text)))


def _stack(lines: Iterable[str], column: Column) -> str:
    """Lines below each other; a table in the cell needs no package."""
    stacked: Sequence[str] = list(lines)
    if len(stacked) == 1:
        return stacked[0]
    joined = r" \\ ".join(stacked)
    return rf"\begin{{tabular}}[t]{{@{{}}{_alignment(column)}@{{}}}}{joined}\end{{tabular}}"


def _alignment(column: Column) -> str:
    return "r" if column.is_figure else "l"
