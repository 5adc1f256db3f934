"""`safechain-ray compare`: runs against each other, or the strategies of one."""

import click

from safechain_ray.cli.frame import output_flags
from safechain_ray.cli.paper import paper_flags, stand_ins
from safechain_ray.cli.shape import format_flag, show
from safechain_ray.errors import InputError
from safechain_ray.storage import open_folder

EXAMPLES = """\b
Examples:
  safechain-ray compare runs/r1-7b runs/r1-8b --paper
  safechain-ray compare runs/demo --baseline default
  safechain-ray compare runs/r1-7b-benchmarks runs/tuned-benchmarks
  safechain-ray compare s3://bucket/runs/r1-7b runs/tuned --format latex > differences.tex
"""


@click.command(epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN]...")
@click.option("--baseline", metavar="STRATEGY", help="Within one RUN: compare its other strategies with this one.")
@paper_flags
@format_flag
@output_flags
def compare(
    *,
    runs: tuple[str, ...],
    baseline: str | None,
    paper: str | None,
    paper_dataset: tuple[str, ...],
    shape: str,
    as_json: bool,
) -> None:
    """Paired differences between finished runs: each further RUN against the first, prompt by prompt.

    Settings are paired where they are equal, else by data set and strategy where that leaves no choice. Every
    difference has its 95% interval and, where K = 1, McNemar's exact test with Holm's correction. Benchmarks are
    compared in the same way, problem by problem.
    """
    from safechain_ray.pipelines.benchmark_figures import is_benchmark
    from safechain_ray.pipelines.compare import compare_runs, compare_strategies
    from safechain_ray.report.comparison import comparison_document

    if len(runs) > 1 and is_benchmark(open_folder(runs[0])):
        if baseline is not None or paper is not None or paper_dataset:
            raise InputError(f"--baseline and --paper are for runs that judges looked at: {runs[0]} holds benchmarks.")
        _of_benchmarks(runs, shape, as_json)
        return
    standing = stand_ins(paper, paper_dataset)
    if baseline is not None and len(runs) > 1:
        raise InputError("--baseline compares the strategies of one run: name one RUN, or leave --baseline out.")
    if baseline is not None:
        comparison = compare_strategies(runs[0], baseline, standing)
    elif len(runs) > 1:
        comparison = compare_runs(runs, standing)
    else:
        raise InputError("Name a second RUN to compare with, or the run's own --baseline strategy (say default).")
    if as_json:
        click.echo(comparison.model_dump_json(indent=2))
    else:
        show(comparison_document(comparison), shape)


def _of_benchmarks(runs: tuple[str, ...], shape: str, as_json: bool) -> None:
    from safechain_ray.pipelines.compare_benchmarks import compare_benchmarks
    from safechain_ray.report.benchmark_comparison import benchmark_comparison_document

    comparison = compare_benchmarks(runs)
    if as_json:
        click.echo(comparison.model_dump_json(indent=2))
    else:
        show(benchmark_comparison_document(comparison), shape)
