"""`safechain-ray report`: the figures of a run again."""

import json

import click

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.frame import output_flags
from safechain_ray.cli.paper import paper_flags, stand_ins
from safechain_ray.cli.shape import format_flag, show
from safechain_ray.cli.sweep import sweep_document
from safechain_ray.errors import InputError

EXAMPLES = """\b
Examples:
  safechain-ray report runs/demo --by-category
  safechain-ray report runs/demo --fine-grained
  safechain-ray report runs/r1-7b --paper
  safechain-ray report runs/demo --paper R1-7B --paper-dataset quickstart=strongreject
  safechain-ray report runs/r1-7b --format latex > tables.tex
  safechain-ray report runs/paper/main_table --paper
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
@paper_flags
@format_flag
@output_flags
def report(
    *,
    run: str,
    by_category: bool,
    fine_grained: bool,
    benign_category: tuple[str, ...],
    paper: str | None,
    paper_dataset: tuple[str, ...],
    shape: str,
    as_json: bool,
) -> None:
    """Print the figures of a run, or of a sweep, again. RUN is its folder or URI."""
    if fine_grained:
        _fine_grained(run, by_category, benign_category, shape, as_json)
        return
    if benign_category:
        raise InputError("--benign-category is for the fine-grained analysis: give --fine-grained too.")
    from safechain_ray.metrics.published import beside
    from safechain_ray.pipelines.run_folder import read_metrics
    from safechain_ray.pipelines.sweep import is_sweep, read_sweep
    from safechain_ray.report.published import with_published
    from safechain_ray.report.tables import metrics_document

    standing = stand_ins(paper, paper_dataset)
    if is_sweep(run):
        runs = read_sweep(run)
        if as_json:
            click.echo(json.dumps([each.model_dump(mode="json") for each in runs], indent=2))
        else:
            show(sweep_document(runs, standing), shape)
        return
    metrics, figures = read_metrics(run), published_figures()
    found = None if standing is None else beside(metrics, figures, standing)
    if as_json:
        tree = metrics.model_dump(mode="json")
        if found is not None:
            tree["published"] = [each.model_dump(mode="json") for each in found]
        click.echo(json.dumps(tree, indent=2))
        return
    document = metrics_document(metrics, by_category)
    if standing is not None and found is not None:
        document = with_published(document, metrics, found, figures, standing)
    show(document, shape)


def _fine_grained(run: str, by_category: bool, benign: tuple[str, ...], shape: str, as_json: bool) -> None:
    from safechain_ray.pipelines.fine_grained import analyse
    from safechain_ray.report.fine_grained import fine_grained_document

    analysis = analyse(run, benign)
    if as_json:
        click.echo(analysis.model_dump_json(indent=2))
    else:
        show(fine_grained_document(analysis, by_category), shape)
