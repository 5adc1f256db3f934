"""`safechain-ray compare`: models against each other, or the strategies of one run."""

import json

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import output_flags
from safechain_ray.cli.options import format_flag, paper_flags, show, stand_ins
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.escape import printable

EXAMPLES = """\b
Examples:
  safechain-ray compare runs/r1-7b runs/r1-8b --paper
  safechain-ray compare runs/demo --baseline default
  safechain-ray compare runs/r1-7b-benchmarks runs/tuned-benchmarks
  safechain-ray compare runs/r1-7b runs/tuned runs/r1-7b-benchmarks runs/tuned-benchmarks --html tuned.html
  safechain-ray compare s3://bucket/runs/r1-7b runs/tuned --format latex > differences.tex
"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN]...")
@click.option("--baseline", metavar="STRATEGY", help="Within one RUN: compare its other strategies with this one.")
@click.option("--html", metavar="PATH", help="Write what differs as a page too, to a file or URI.")
@paper_flags
@format_flag
@output_flags
def compare(
    *,
    runs: tuple[str, ...],
    baseline: str | None,
    html: str | None,
    paper: str | None,
    paper_dataset: tuple[str, ...],
    shape: str,
    as_json: bool,
) -> None:
    """Paired differences between finished runs: each further RUN against the first, prompt by prompt.

    Settings are paired where they are equal, else by data set and strategy where that leaves no choice. Every
    difference has its 95% interval and, where K = 1, McNemar's exact test with Holm's correction. Benchmarks are
    compared in the same way, problem by problem; named beside runs, they are compared among themselves, and the models
    stand side by side first.
    """
    from safechain_ray.storage import open_folder

    standing = stand_ins(paper, paper_dataset)
    if len(runs) > 1:
        if baseline is not None:
            raise InputError("--baseline compares the strategies of one run: name one RUN, or leave --baseline out.")
        _models(runs, standing, html, shape, as_json)
    elif baseline is None:
        raise InputError("Name a second RUN to compare with, or the run's own --baseline strategy (say default).")
    elif html is not None:
        raise InputError(
            f"--html shows models: name a second RUN. `safechain-ray report {open_folder(runs[0])} --html` "
            "shows the strategies of one."
        )
    else:
        _strategies(runs[0], baseline, standing, shape, as_json)


def _models(runs: tuple[str, ...], standing: StandIns | None, html: str | None, shape: str, as_json: bool) -> None:
    from safechain_ray.commands.compare_models import compare_models
    from safechain_ray.report.compared_models import compared_document
    from safechain_ray.report.html.write import write_comparison

    compared = compare_models(runs, standing)
    if standing is not None and compared.safety is None:
        raise InputError("--paper is for runs that judges looked at, alone or beside benchmarks: these are benchmarks.")
    written = None if html is None else write_comparison(compared, html, standing)
    if not as_json:
        show(compared_document(compared, published_figures(), standing), shape)
        if written is not None:
            Console(stderr=True).print(printable(f"Report: {written}"), highlight=False, markup=False, soft_wrap=True)
        return
    parts = {"runs": compared.safety, "benchmarks": compared.benchmarks}
    trees = {kind: part.model_dump(mode="json") for kind, part in parts.items() if part is not None}
    click.echo(json.dumps(trees if len(trees) > 1 else next(iter(trees.values())), indent=2))


def _strategies(run: str, baseline: str, standing: StandIns | None, shape: str, as_json: bool) -> None:
    from safechain_ray.commands.compare import compare_strategies
    from safechain_ray.report.comparison import comparison_document

    comparison = compare_strategies(run, baseline, standing)
    if as_json:
        click.echo(comparison.model_dump_json(indent=2))
    else:
        show(comparison_document(comparison), shape)
