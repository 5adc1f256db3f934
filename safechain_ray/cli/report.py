"""`safechain-ray report`: the figures of a run again."""

import click
from rich.console import Console

from safechain_ray.cli.frame import output_flags
from safechain_ray.errors import InputError

EXAMPLES = """\b
Examples:
  safechain-ray report runs/demo --by-category
  safechain-ray report runs/demo --fine-grained
"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@click.option("--by-category", is_flag=True, help="A table by category as well.")
@click.option(
    "--fine-grained",
    is_flag=True,
    help="Thought against answer, lengths, Safe@k by k, truncation, over-refusal, first unsafe piece; all of it goes "
    "to analysis.json in the run's folder.",
)
@click.option(
    "--benign-category",
    multiple=True,
    metavar="NAME",
    help="With --fine-grained: to refuse prompts of this category is over-refusal. Repeatable; the catalog knows those "
    "of its own data sets.",
)
@output_flags
def report(*, run: str, by_category: bool, fine_grained: bool, benign_category: tuple[str, ...], as_json: bool) -> None:
    """Print the figures of a run again. RUN is its folder or URI."""
    if fine_grained:
        _fine_grained(run, by_category, benign_category, as_json)
        return
    if benign_category:
        raise InputError("--benign-category is for the fine-grained analysis: give --fine-grained too.")
    from safechain_ray.pipelines.run_folder import read_metrics
    from safechain_ray.report.tables import render_metrics

    metrics = read_metrics(run)
    if as_json:
        click.echo(metrics.model_dump_json(indent=2))
    else:
        render_metrics(metrics, Console(), by_category=by_category)


def _fine_grained(run: str, by_category: bool, benign: tuple[str, ...], as_json: bool) -> None:
    from safechain_ray.pipelines.fine_grained import analyse
    from safechain_ray.report.fine_grained import render_fine_grained

    analysis = analyse(run, benign)
    if as_json:
        click.echo(analysis.model_dump_json(indent=2))
    else:
        render_fine_grained(analysis, Console(), by_category=by_category)
