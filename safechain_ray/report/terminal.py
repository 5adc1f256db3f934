"""A document on a terminal, or as plain text where there is none."""

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
