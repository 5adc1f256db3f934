"""`safechain-ray list`: the entries of the catalog."""

import json

import click
from rich.console import Console

from safechain_ray.cli.common import output_options
from safechain_ray.report.listing import LISTINGS, entries, print_entries


@click.command("list", epilog="\b\nExample:\n  safechain-ray list models --json")
@click.argument("kind", type=click.Choice(list(LISTINGS)))
@output_options
def list_entries(*, kind: str, as_json: bool) -> None:
    """List the entries of the catalog."""
    if as_json:
        click.echo(json.dumps(entries(kind), indent=2))
    else:
        print_entries(kind, Console())
