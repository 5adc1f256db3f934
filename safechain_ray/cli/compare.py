"""`safechain-ray compare`: models against each other, or the strategies of one run."""

import json

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import output_options
from safechain_ray.cli.options import format_option, paper_options, parse_stand_ins, show
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.quiet import print_location

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
@click.option(
    "--baseline",
    metavar="STRATEGY",
    help="Within one RUN: compare its other strategies with this one: a name, or 'NAME KEY=VALUE' as in tables.",
)
@click.option("--html", metavar="PATH", help="Write the comparison as an HTML page too, to a file or URI.")
@paper_options
@format_option
@output_options
def compare(
    *,
    runs: tuple[str, ...],
    baseline: str | None,
    html: str | None,
    paper: str | None,
    paper_dataset: tuple[str, ...],
    output_format: str,
    as_json: bool,
) -> None:
    """Compare finished runs with the first one, prompt by prompt.

    Prints paired differences of each further RUN. Settings are paired if they are equal, else by data set and strategy
    if there is only one choice. Every difference has its 95% interval and, if K = 1, McNemar's exact test with Holm's
    correction. Benchmarks are compared in the same way, problem by problem. Benchmarks named beside runs are compared
    among themselves, after a table of all models side by side.
    """
    from safechain_ray.storage import open_folder

    stand_ins = parse_stand_ins(paper, paper_dataset)
    if len(runs) > 1:
        if baseline is not None:
            raise InputError(
                f"--baseline compares the strategies of one run, and {len(runs)} runs are named. Fix: name one RUN, or "
                "leave --baseline out."
            )
        _models(runs, stand_ins, html, output_format, as_json)
    elif baseline is None:
        raise InputError(
            "A comparison needs two runs, or two strategies of one run. Fix: name a second RUN, or give --baseline "
            "STRATEGY (such as default) to compare its strategies."
        )
    elif html is not None:
        raise InputError(
            f"--html shows two models or more. Fix: name a second RUN, or run `safechain-ray report "
            f"{open_folder(runs[0])} --html`, which shows the strategies of one."
        )
    else:
        _strategies(runs[0], baseline, stand_ins, output_format, as_json)


def _models(
    runs: tuple[str, ...], stand_ins: StandIns | None, html: str | None, output_format: str, as_json: bool
) -> None:
    from safechain_ray.commands.compare_models import compare_models
    from safechain_ray.report.compared_models import compared_document
    from safechain_ray.report.html.write import write_comparison

    compared = compare_models(runs, stand_ins)
    if stand_ins is not None and compared.safety is None:
        raise InputError(
            "--paper needs judged runs, and these are benchmarks only. Fix: name judged runs too, or leave --paper out."
        )
    written = None if html is None else write_comparison(compared, html, stand_ins)
    if not as_json:
        show(compared_document(compared, published_figures(), stand_ins), output_format)
        if written is not None:
            print_location("Report", written, Console(stderr=True))
        return
    parts = {"runs": compared.safety, "benchmarks": compared.benchmarks}
    trees = {kind: part.model_dump(mode="json") for kind, part in parts.items() if part is not None}
    click.echo(json.dumps(trees if len(trees) > 1 else next(iter(trees.values())), indent=2))


def _strategies(run: str, baseline: str, stand_ins: StandIns | None, output_format: str, as_json: bool) -> None:
    from safechain_ray.commands.compare import compare_strategies
    from safechain_ray.report.comparison import comparison_document

    comparison = compare_strategies(run, baseline, stand_ins)
    if as_json:
        click.echo(comparison.model_dump_json(indent=2))
    else:
        show(comparison_document(comparison), output_format)
