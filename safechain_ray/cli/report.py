"""`safechain-ray report`: the figures of a run again."""

import click
from rich.console import Console

from safechain_ray.cli.frame import output_flags


@click.command(epilog="\b\nExample:\n  safechain-ray report runs/demo --by-category")
@click.argument("run")
@click.option("--by-category", is_flag=True, help="A table by category as well.")
@output_flags
def report(*, run: str, by_category: bool, as_json: bool) -> None:
    """Print the figures of a run again. RUN is its folder or URI."""
    from safechain_ray.pipelines.run_folder import read_metrics
    from safechain_ray.report.tables import render_metrics

    metrics = read_metrics(run)
    if as_json:
        click.echo(metrics.model_dump_json(indent=2))
    else:
        render_metrics(metrics, Console(), by_category=by_category)
