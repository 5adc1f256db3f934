"""`safechain-ray evaluate`: all settings of one model; and the options that make the config of a run."""

import sys
from pathlib import Path
from typing import Any

import click

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options, show_run
from safechain_ray.cli.completion import complete
from safechain_ray.cli.options import (
    STRATEGY_NAMES,
    by_key,
    config_options,
    dataset_options,
    folder_option,
    group,
    html_option,
    judge_option,
    key_option,
    model_options,
    parts_option,
    report_to_option,
    resource_options,
    sampling_options,
    with_items,
)
from safechain_ray.config import RunConfig, read_config
from safechain_ray.report.quiet import quiet_libraries


def run_examples(command: str) -> str:
    """Example calls of a command that takes `run_options`."""
    return f"""\b
Examples:
  safechain-ray {command} --model demo-reasoner --dataset quickstart --judge demo-guard
  safechain-ray {command} --model R1-7B --dataset strongreject --strategy zerothink --samples 5 \\
      --temperature 0.6 --top-p 0.95 --judge llama-guard-3-8b --output s3://bucket/runs/r1-7b
  safechain-ray {command} --model openai:my-model --base-url http://localhost:8000/v1 --max-requests 500 \\
      --dataset strongreject --judge refusal-match
  safechain-ray {command} --config run.yaml --set sampling.temperature=0.6
"""


run_options = group(
    config_options(),
    model_options,
    click.option(
        "-d",
        "--dataset",
        multiple=True,
        shell_complete=complete("dataset"),
        help="Catalog name, file, folder, URI or Hugging Face id. Repeatable.",
    ),
    dataset_options("datasets.*.", "Column that holds the prompts: text, or chat messages with one user turn."),
    key_option("datasets.*.id_column", "--id-column", help="Column that holds the prompts' ids."),
    key_option("datasets.*.category_column", "--category-column", help="Column that holds the categories."),
    key_option(
        "datasets.*.benign_categories",
        "--benign-category",
        multiple=True,
        metavar="NAME",
        help="Category of benign prompts: they count for over-refusal, all other prompts for safety. Repeatable. "
        "Not needed for data sets of the catalog.",
    ),
    key_option("datasets.*.limit", "--limit", type=int, help="Prompts to take from each data set; all by default."),
    key_option("datasets.*.shuffle_seed", "--shuffle-seed", type=int, help="Shuffle the prompts before --limit."),
    key_option(
        "strategies", "-s", "--strategy", multiple=True, help=f"Decoding strategy: {STRATEGY_NAMES}. Repeatable."
    ),
    key_option("samples", "-k", "--samples", type=int, help="K, the samples of each prompt."),
    sampling_options(),
    judge_option,
    click.option(
        "--vote",
        multiple=True,
        shell_complete=complete("vote"),
        help="Add a vote over the judges: majority, any or all must say unsafe. Repeatable.",
    ),
    parts_option,
    folder_option("run"),
    report_to_option,
    resource_options,
)


@click.command(epilog=run_examples("evaluate"))
@run_options
@html_option()
@output_options
def evaluate(*, as_json: bool, html: bool, **flags: Any) -> None:
    """Generate, judge and measure: one model, all settings.

    Rerun the command to resume. Exit code 3: some samples ended with an error, or a judge failed on some verdicts.
    """
    from safechain_ray.commands.evaluate import evaluate as run_evaluation
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_report
    from safechain_ray.report.progress import progress_for

    config = read_run_config(**flags)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_evaluation(config, progress, start_vllm)
    written = write_report(done.folder.folder) if html else None
    show_run(done.metrics, done.folder.folder, written, as_json)
    sys.exit(ERRORS_IN_SAMPLES if done.errors else DONE)


def read_run_config(
    *,
    config: Path | None,
    profile: str | None,
    assignments: tuple[str, ...],
    dataset: tuple[str, ...],
    vote: tuple[str, ...],
    **flags: Any,
) -> RunConfig:
    """The config that the values of `run_options` make."""
    given = with_items(by_key(flags), "datasets", [{"name": name} for name in dataset], "--dataset")
    if vote:
        given["votes"] = [{"name": f"vote-{rule}", "rule": rule} for rule in vote]
    return read_config(config, given, assignments, profile)
