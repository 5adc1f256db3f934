"""`safechain-ray benchmark`: how well one model reasons."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options
from safechain_ray.cli.completion import complete
from safechain_ray.cli.options import (
    STRATEGY_NAMES,
    by_key,
    config_options,
    folder_option,
    format_option,
    html_option,
    key_option,
    model_options,
    only_given,
    report_to_option,
    resource_options,
    sampling_options,
    show,
    with_items,
)
from safechain_ray.config import BenchmarkConfig, read_config_as
from safechain_ray.errors import InputError
from safechain_ray.metrics.benchmark import BenchmarkRunMetrics
from safechain_ray.metrics.published import published_passes
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray benchmark --model R1-7B --benchmark gsm8k --benchmark mbpp --output runs/r1-7b-benchmarks
  safechain-ray benchmark --model R1-7B --benchmark math500=./math500.jsonl --limit 50 --paper
  safechain-ray benchmark --model R1-7B --benchmark humaneval --benchmark mbpp --style evalplus --paper
  safechain-ray benchmark --model ./tuned --family r1 --benchmark aime24 --samples 16 --temperature 0.6 \\
      --top-p 0.95 --pass-at 1 --pass-at 4 --pass-at 16
  safechain-ray benchmark --config paper/benchmarks --output s3://bucket/r1-7b-benchmarks
"""

PAPER = "Add the paper's figures of the same model, or of MODEL (R1-7B, R1-7B-safechain, …)."


@click.command(epilog=EXAMPLES)
@config_options()
@model_options
@click.option(
    "-b",
    "--benchmark",
    multiple=True,
    metavar="NAME[=SOURCE]",
    shell_complete=complete("benchmark"),
    help="Catalog name, and where to read its rows instead. Repeatable.",
)
@key_option("benchmarks.*.limit", "--limit", type=int, help="Problems to take from each benchmark; all by default.")
@key_option(
    "benchmarks.*.style",
    "--style",
    metavar="NAME",
    help="Prompt and grader of each --benchmark: default, or those of the paper: evalplus (humaneval, mbpp, "
    "mbpp-full), skythought (livecodebench).",
)
@key_option("strategy", "-s", "--strategy", help=f"Decoding strategy: {STRATEGY_NAMES}.")
@key_option("samples", "-k", "--samples", type=int, help="K, the samples of each problem; 1 by default.")
@key_option(
    "pass_at",
    "--pass-at",
    type=int,
    multiple=True,
    metavar="k",
    help="A k of pass@k; 1 and K by default. Repeatable.",
)
@sampling_options(
    temperature="Sampling temperature; 0 (greedy decoding) by default.",
    max_tokens="Most tokens of a response; by default each benchmark's own.",
)
@key_option(
    "sampling.repetition_penalty",
    "--repetition-penalty",
    type=float,
    help="Repetition penalty; by default each benchmark's own (1.1 for code).",
)
@folder_option("run")
@report_to_option
@resource_options
@click.option("--paper", is_flag=False, flag_value="", metavar="[MODEL]", help=PAPER)
@html_option()
@format_option
@output_options
def benchmark(*, paper: str | None, html: bool, output_format: str, as_json: bool, **flags: Any) -> None:
    """Run reasoning benchmarks on one model: pass@1 and pass@k.

    The model is loaded once for all benchmarks. Answers are graded while the model runs: mathematics by algebra, code
    by running it in a sandbox on every CPU of the cluster (docs/sandbox.md). Without a working sandbox no code is run.
    Rerun the command to resume. Exit code 3: some samples ended with an error, or could not be graded.
    """
    from safechain_ray.commands.benchmark import benchmark as run_benchmarks
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_benchmark_report
    from safechain_ray.report.progress import progress_for

    config = _config(**flags)
    if paper:
        check_published(paper)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_benchmarks(config, progress, start_vllm)
    written = write_benchmark_report(done.folder.folder, stand_in=paper or None) if html else None
    print_benchmarks(done.metrics, paper, output_format, as_json)
    if not as_json:
        print_location("Results", done.folder.folder)
        if written:
            print_location("Report", written)
    sys.exit(ERRORS_IN_SAMPLES if done.errors else DONE)


def print_benchmarks(metrics: BenchmarkRunMetrics, paper: str | None, output_format: str, as_json: bool) -> None:
    """Print the figures; with `paper`, beside the published figures of that model, or of ours where it is empty."""
    from safechain_ray.report.benchmark_tables import benchmark_document, with_published_passes

    figures = published_figures()
    found = None if paper is None else published_passes(metrics, figures.finetuning, paper or None)
    if as_json:
        tree = metrics.model_dump(mode="json")
        if found is not None:
            tree["published"] = [each.model_dump(mode="json") for each in found]
        click.echo(json.dumps(tree, indent=2))
        return
    document = benchmark_document(metrics)
    show(document if found is None else with_published_passes(document, metrics, found, figures), output_format)


def check_published(model: str) -> None:
    """Raises UnknownNameError for a model without published benchmarks."""
    published_passes(BenchmarkRunMetrics(model=model, benchmarks=()), published_figures().finetuning, model)


def _config(
    *,
    config: Path | None,
    profile: str | None,
    assignments: tuple[str, ...],
    benchmark: tuple[str, ...],
    **flags: Any,
) -> BenchmarkConfig:
    given = with_items(by_key(flags), "benchmarks", list(map(_choice, benchmark)), "--benchmark")
    return read_config_as(BenchmarkConfig, config, given, assignments, profile)


def _choice(text: str) -> dict[str, Any]:
    """The benchmark of a flag: `math500`, or `math500=./math500.jsonl`."""
    name, equals, source = text.partition("=")
    if not name or (equals and not source):
        raise InputError(
            f"--benchmark {text}: the name or the source is missing. Fix: write NAME or NAME=SOURCE, for example "
            "math500=./math500.jsonl."
        )
    return {"name": name, **only_given({"source": source or None})}
