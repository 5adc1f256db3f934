"""`safechain-ray list`: the entries of the catalog."""

import json

import click
from rich.console import Console

from safechain_ray.cli.common import output_options
from safechain_ray.errors import InputError
from safechain_ray.report.listing import LISTINGS, entries, entries_from_outside, print_entries, print_sources

EXAMPLES = """\b
Examples:
  safechain-ray list models --json
  safechain-ray list --source --catalog mine.yaml"""


@click.command("list", epilog=EXAMPLES)
@click.argument("kind", required=False, type=click.Choice(list(LISTINGS)))
@click.option("--source", is_flag=True, help="Add where entries come from; without KIND, list those from outside.")
@output_options
def list_entries(*, kind: str | None, source: bool, as_json: bool) -> None:
    """List the entries of the catalog."""
    if kind is None and not source:
        raise InputError(f"No kind of entry is given. Fix: name one of {', '.join(LISTINGS)}, or add --source.")
    if as_json:
        click.echo(json.dumps(entries_from_outside() if kind is None else entries(kind), indent=2))
    elif kind is None:
        print_sources(Console())
    else:
        print_entries(kind, Console(), source=source)
