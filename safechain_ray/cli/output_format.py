"""`--format`: tables for the terminal, as Markdown or as LaTeX."""

import click
from rich.console import Console

from safechain_ray.cli.common import Command
from safechain_ray.report.document import Document

SHAPES = ("table", "markdown", "latex")


def format_flag(command: Command) -> Command:
    """The command gets it as `shape`, for `show`."""
    flag = click.option(
        "--format",
        "shape",
        type=click.Choice(SHAPES),
        default="table",
        show_default=True,
        help="How tables are written.",
    )
    return flag(command)


def show(document: Document, shape: str) -> None:
    """Print the document on stdout; Markdown and LaTeX unwrapped, to be put into a file."""
    from safechain_ray.report.latex import latex
    from safechain_ray.report.markdown import markdown
    from safechain_ray.report.terminal import print_document

    match shape:
        case "markdown":
            click.echo(markdown(document), nl=False)
        case "latex":
            click.echo(latex(document), nl=False)
        case _:
            print_document(document, Console())
