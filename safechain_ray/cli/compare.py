"""`safechain-ray compare`: models, or the strategies of one run; and `prefer`: which of two runs a judge prefers."""

import json
import sys
from typing import Any

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import (
    DONE,
    ERRORS_IN_SAMPLES,
    interruptible,
    output_options,
    print_location,
    quiet_libraries,
)
from safechain_ray.cli.options import (
    by_category_option,
    by_key,
    folder_option,
    format_option,
    gpu_memory_option,
    judge_resource_options,
    key_option,
    max_requests_option,
    paper_options,
    parse_stand_ins,
    set_option,
    show,
)
from safechain_ray.config import PreferenceConfig, read_config_as
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns

COMPARE_EXAMPLES = """\b
Examples:
  safechain-ray compare runs/r1-7b runs/r1-8b --paper
  safechain-ray compare runs/demo --baseline default
  safechain-ray compare runs/r1-7b-benchmarks runs/tuned-benchmarks
  safechain-ray compare runs/r1-7b runs/tuned runs/r1-7b-benchmarks runs/tuned-benchmarks --html tuned.html
  safechain-ray compare s3://bucket/runs/r1-7b runs/tuned --format latex > differences.tex
"""


@click.command(epilog=COMPARE_EXAMPLES)
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN]...")
@click.option("--baseline", metavar="STRATEGY", help="Within one RUN: compare its other strategies with this one.")
@click.option("--html", metavar="PATH", help="Write what differs as a page too, to a file or URI.")
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
    """Paired differences between finished runs: each further RUN against the first, prompt by prompt.

    Settings are paired where they are equal, else by data set and strategy where that leaves no choice. Every
    difference has its 95% interval and, where K = 1, McNemar's exact test with Holm's correction. Benchmarks are
    compared in the same way, problem by problem; named beside runs, they are compared among themselves, after a table
    of all models side by side.
    """
    from safechain_ray.storage import open_folder

    stand_ins = parse_stand_ins(paper, paper_dataset)
    if len(runs) > 1:
        if baseline is not None:
            raise InputError("--baseline compares the strategies of one run: name one RUN, or leave --baseline out.")
        _models(runs, stand_ins, html, output_format, as_json)
    elif baseline is None:
        raise InputError("Name a second RUN to compare with, or the run's own --baseline strategy (such as default).")
    elif html is not None:
        raise InputError(
            f"--html shows models: name a second RUN. `safechain-ray report {open_folder(runs[0])} --html` "
            "shows the strategies of one."
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
        raise InputError("--paper is for judged runs, alone or beside benchmarks: these are benchmarks.")
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


PREFER_EXAMPLES = """\b
Examples:
  safechain-ray prefer runs/r1-70b runs/llama-70b --judge prefer-llama-3.3-70b -o runs/r1-or-llama
  safechain-ray prefer runs/a s3://bucket/runs/b --judge prefer-gpt-4o --strategy default --part response \\
      --set judge.endpoint.base_url=http://localhost:8000/v1 --set judge.endpoint.model=my-model \\
      --set judge.endpoint.api_key_env=MY_KEY
"""


@click.command(epilog=PREFER_EXAMPLES)
@click.argument("run_a")
@click.argument("run_b")
@key_option("judge.name", "-j", "--judge", required=True, help="A judge of kind preference, by catalog name.")
@key_option("strategies", "-s", "--strategy", multiple=True, help="Only settings of this strategy. Repeatable.")
@key_option("part", "--part", help="response, thought or answer; the answer where both models have it apart.")
@folder_option("comparison")
@by_category_option
@gpu_memory_option
@max_requests_option
@judge_resource_options
@set_option("judge.… or resources.…")
@format_option
@output_options
def prefer(
    *,
    run_a: str,
    run_b: str,
    by_category: bool,
    output_format: str,
    as_json: bool,
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Ask a judge which of two finished runs responds better, prompt by prompt: wins, ties, losses of RUN_A.

    Both responses to a prompt are shown twice, positions swapped: a win or a loss is one in both orders, anything else
    a tie. Settings are paired where they are equal, else by data set and strategy where that leaves no choice; prompts
    by id and text. Rerun the command to resume. Exit code 3: some pairs are missing.
    """
    from safechain_ray.commands.prefer import prefer as run_preferring
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.comparison import preferences_document
    from safechain_ray.report.progress import progress_for

    config = read_config_as(PreferenceConfig, None, by_key(flags), assignments)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_preferring(run_a, run_b, config, progress, start_vllm)
    if as_json:
        click.echo(done.preferences.model_dump_json(indent=2))
    else:
        show(preferences_document(done.preferences, by_category), output_format)
        print_location("Results", done.folder.folder)
    sys.exit(ERRORS_IN_SAMPLES if done.preferences.missing else DONE)
