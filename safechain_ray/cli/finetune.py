"""`safechain-ray finetune`: a model learns demonstrations, on all weights or by adapters, on any number of workers."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import WRONG_INPUT, interruptible, output_options
from safechain_ray.cli.options import (
    by_key,
    cluster_options,
    config_options,
    device_option,
    family_option,
    folder_option,
    gpu_options,
    key_option,
    model_option,
)
from safechain_ray.config import FinetuneConfig, read_config_as
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray finetune --config paper/finetune_r1_7b --profile demo
  safechain-ray finetune --config paper/finetune_r1_7b --output s3://bucket/r1-7b-safechain
  safechain-ray finetune --config paper/finetune_r1_7b --plan --workers 8 --gpu-memory 24 --lora
  safechain-ray finetune --model R1-8B --training-set sets/mine --workers 8 --output s3://bucket/r1-8b-mine \\
      --report-to tensorboard --set training.save_every=50
"""


@click.command(epilog=EXAMPLES)
@config_options()
@model_option
@family_option
@key_option(
    "training_set.name",
    "-t",
    "--training-set",
    help="Catalog name (safechain), folder of build-dataset, file, URI or hub id.",
)
@key_option(
    "training_set.file",
    "--training-set-file",
    metavar="PATH",
    help="Local copy of the catalog's set, read instead.",
)
@key_option(
    "training_set.held_out",
    "--held-out",
    type=float,
    metavar="SHARE",
    help="Share of the prompts that only the evaluation loss uses; 0.02 by default.",
)
@key_option("max_length", "--max-length", type=int, help="Tokens of a packed sequence; 16,384 by default.")
@key_option("training.epochs", "--epochs", type=float, help="Passes over the training set; 2 by default.")
@key_option("training.learning_rate", "--learning-rate", type=float, help="Highest learning rate; 1e-5 by default.")
@key_option(
    "training.sequences_a_step",
    "--sequences-a-step",
    type=int,
    help="Packed sequences in a step, over all workers; 16 by default.",
)
@key_option("training.precision", "--precision", help="Precision of the computation: bfloat16 (default) or float32.")
@click.option("--lora", is_flag=True, help="Train low-rank adapters, and merge them into the weights at the end.")
@key_option("training.lora.rank", "--lora-rank", type=int, help="The adapters' rank; 16 by default.")
@key_option(
    "training.seed",
    "--seed",
    type=int,
    help="Seed of the example order, the held-out choice and the adapters; 0 by default.",
)
@key_option(
    "training.report_to",
    "--report-to",
    multiple=True,
    metavar="TRACKER",
    help="Tracker of the metrics: wandb, mlflow or tensorboard. Repeatable.",
)
@folder_option("training")
@key_option(
    "resources.workers",
    "-n",
    "--workers",
    type=int,
    help="Processes that train together, each on a GPU; 1 by default.",
)
@device_option()
@gpu_options
@key_option(
    "resources.scratch",
    "--scratch",
    metavar="FOLDER",
    help="Folder on each node's disk for a checkpoint before its upload to the output.",
)
@cluster_options
@click.option(
    "--plan", is_flag=True, help="Read the data, show the GPU memory and the workers that the training needs, and exit."
)
@output_options
def finetune(
    *,
    as_json: bool,
    config: Path | None,
    profile: str | None,
    assignments: tuple[str, ...],
    lora: bool,
    plan: bool,
    **flags: Any,
) -> None:
    """Fine-tune a model on demonstrations.

    A demonstration has a prompt, a thought and an answer. The loss is on the responses alone. Writes model/ (for vLLM,
    transformers and `evaluate --model`), checkpoints/, metrics.jsonl and finetune.json to the output. Rerun the command
    to resume from the last checkpoint.
    """
    given: dict[str, Any] = {"training.lora": {}} if lora else {}
    resolved = read_config_as(FinetuneConfig, config, given | by_key(flags), assignments, profile)
    if plan:
        _show_plan(resolved, as_json)
    else:
        _train(resolved, as_json)


def _show_plan(config: Any, as_json: bool) -> None:
    from safechain_ray.commands.finetune.finetune import plan_finetune
    from safechain_ray.report.renderers import print_document
    from safechain_ray.report.training import plan_document, plan_summary

    with quiet_libraries():
        trainee, made, data = plan_finetune(config)
    summary = plan_summary(config, trainee, made, data)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        print_document(plan_document(summary), Console())
    refusals = [refusal for refusal in (made.refusal, data.refusal) if refusal is not None]
    if refusals:
        click.echo("\n".join(refusals), err=True)
        sys.exit(WRONG_INPUT)


def _train(config: Any, as_json: bool) -> None:
    from safechain_ray.commands.finetune.finetune import finetune as run_training
    from safechain_ray.report.progress import training_progress_for
    from safechain_ray.report.renderers import print_document
    from safechain_ray.report.training import outcome_document

    interruptible()
    with quiet_libraries() as terminal, training_progress_for(terminal) as progress:
        done = run_training(config, progress)
    if as_json:
        click.echo(done.record.to_json(), nl=False)
        return
    print_document(outcome_document(done.record), Console())
    print_location("Model", done.model)
