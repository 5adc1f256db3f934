"""A document as LaTeX for \\input: tables with the rules of booktabs, nothing else needed."""

import re
from collections.abc import Iterable, Iterator, Sequence

from safechain_ray.report.document import NOTES_HEADING, Column, Document, Table
from safechain_ray.report.escape import printable

HEAD = "% Needs \\usepackage{booktabs}; names in letters beyond Latin need LuaLaTeX or XeLaTeX with a font for them."

COMMANDS = {
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
"""What stands for each character that is no plain text to LaTeX."""

_SPECIAL = re.compile("|".join(map(re.escape, COMMANDS)))
_SECOND_HYPHEN = re.compile(r"(?<=-)-")  # two would join to a dash
_RANGE = re.compile(r"(?<=\d)-(?=\d)")
_MINUS = re.compile(r"(?<!\w)-(?=\d)")


def latex(document: Document) -> str:
    """The document, ended by a line end; whatever a text holds is typeset as it is."""
    return "\n".join([HEAD, *_lines(document), ""])


def inert(text: str) -> str:
    """`text` with a command in the place of each character that LaTeX would act on."""
    return _SECOND_HYPHEN.sub("{-}", _SPECIAL.sub(lambda match: COMMANDS[match[0]], printable(text)))


def _lines(document: Document) -> Iterator[str]:
    for caveat in document.caveats:
        yield from (rf"\par\noindent\textbf{{{inert(caveat)}}}\par", "")
    if document.title:
        yield from (rf"\par\noindent\textbf{{{inert(document.title)}}}\par", "")
    for table in document.tables:
        yield from (*_table(table), "")
    if document.notes:
        yield rf"\par\noindent\textbf{{{NOTES_HEADING}}}"
        yield from (r"\begin{itemize}", *(rf"  \item {{}}{inert(note)}" for note in document.notes), r"\end{itemize}")


def _table(table: Table) -> Iterator[str]:
    caption = ". ".join(filter(None, (table.title.rstrip("."), table.caption)))
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{inert(caption)}}}"
    yield rf"  \begin{{tabular}}{{{''.join(map(_alignment, table.columns))}}}"
    yield r"    \toprule"
    yield _row(_stack([inert(line) for line in column.heading], column) for column in table.columns)
    for group in filter(None, table.groups):
        yield r"    \midrule"
        for row in group:
            yield _row(_cell(cell.lines, column) for cell, column in zip(row, table.columns, strict=True))
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def _cell(lines: Sequence[str], column: Column) -> str:
    return _stack([_figure(line) if column.is_figure else inert(line) for line in lines], column)


def _figure(text: str) -> str:
    """A figure's hyphens are ranges and minus signs."""
    return _RANGE.sub("--", _MINUS.sub("$-$", inert(text)))


def _stack(lines: Sequence[str], column: Column) -> str:
    """Lines one below the other; a table in the cell does it without a package."""
    if len(lines) == 1:
        return lines[0]
    stacked = r" \\ ".join(lines)
    return rf"\begin{{tabular}}[t]{{@{{}}{_alignment(column)}@{{}}}}{stacked}\end{{tabular}}"


def _alignment(column: Column) -> str:
    return "r" if column.is_figure else "l"


def _row(cells: Iterable[str]) -> str:
    return rf"    {' & '.join(cells)} \\"
