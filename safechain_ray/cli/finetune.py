"""`safechain-ray finetune`: a model learns demonstrations, on all weights or by adapters, on any number of workers."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import WRONG_INPUT, by_key, interruptible, output_flags, profile_flag, quiet_libraries
from safechain_ray.config import read_finetune_config

EXAMPLES = """\b
Examples:
  safechain-ray finetune --config configs/paper/finetune_r1_7b.yaml --profile demo
  safechain-ray finetune --config configs/paper/finetune_r1_7b.yaml --output s3://bucket/r1-7b-safechain
  safechain-ray finetune --config configs/paper/finetune_r1_7b.yaml --plan --workers 8 --gpu-memory 24 --lora
  safechain-ray finetune --model R1-8B --training-set sets/mine --workers 8 --output s3://bucket/r1-8b-mine \\
      --report-to tensorboard --set training.save_every=50
"""

KEYS = {
    "model": "model.name",
    "family": "model.family",
    "training_set": "training_set.name",
    "training_set_file": "training_set.file",
    "held_out": "training_set.held_out",
    "max_length": "max_length",
    **{key: f"training.{key}" for key in ("epochs", "learning_rate", "sequences_a_step", "precision", "seed")},
    "lora_rank": "training.lora.rank",
    "report_to": "training.report_to",
    "output": "output",
    **{key: f"resources.{key}" for key in ("workers", "device", "gpu_memory", "accelerator", "scratch", "ray_address")},
    "stall_timeout": "resources.stall_timeout_minutes",
}


@click.command(epilog=EXAMPLES)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Config in YAML; flags win over it.")
@profile_flag
@click.option("-m", "--model", help="Catalog name, Hugging Face id or folder (local, s3://, gs://).")
@click.option("--family", help="Model family, for a model that the catalog does not hold.")
@click.option("-t", "--training-set", help="Catalog name (safechain), folder of build-dataset, file, URI or hub id.")
@click.option("--training-set-file", metavar="PATH", help="A copy of the catalog's set, read in its place.")
@click.option(
    "--held-out",
    type=float,
    metavar="SHARE",
    help="Share of the prompts that only the evaluation loss uses; 0.02 by default.",
)
@click.option("--max-length", type=int, help="Tokens of a packed sequence; 16,384 by default.")
@click.option("--epochs", type=float, help="2 by default.")
@click.option("--learning-rate", type=float, help="1e-5 by default.")
@click.option("--sequences-a-step", type=int, help="Packed sequences in a step, over all workers; 16 by default.")
@click.option("--precision", help="bfloat16 (default) or float32, of the computation.")
@click.option("--lora", is_flag=True, help="Train low-rank adapters, and merge them into the weights at the end.")
@click.option("--lora-rank", type=int, help="The adapters' rank; 16 by default.")
@click.option("--seed", type=int, help="Seed of the example order, the held-out choice and the adapters; 0 by default.")
@click.option("--report-to", multiple=True, metavar="TRACKER", help="wandb, mlflow or tensorboard. Repeatable.")
@click.option("-o", "--output", help="The training's folder: a local path or URI.")
@click.option("-n", "--workers", type=int, help="Processes that train together, each on a GPU; 1 by default.")
@click.option("--device", help="auto, cuda, or cpu, which insists on CPUs for any model.")
@click.option("--gpu-memory", type=int, metavar="GB", help="Memory of each GPU; read from the GPUs by default.")
@click.option("--accelerator", metavar="KIND", help="Only GPUs of this kind, as Ray names it: L4, L40S, H100.")
@click.option("--scratch", metavar="FOLDER", help="On each node's disk, for a checkpoint on its way to the output.")
@click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started.")
@click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config.")
@click.option(
    "--plan", is_flag=True, help="Read the data, show the GPU memory and the workers that the training needs, and exit."
)
@output_flags
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
    """Fine-tune a model on demonstrations of prompts, thoughts and answers; loss on the responses alone.

    Leaves model/ (for vLLM, transformers and `evaluate --model`), checkpoints/, metrics.jsonl and finetune.json in the
    output. The same command again goes on from the last checkpoint.
    """
    given: dict[str, Any] = {"training.lora": {}} if lora else {}
    resolved = read_finetune_config(config, given | by_key(KEYS, flags), assignments, profile)
    if plan:
        _show_plan(resolved, as_json)
    else:
        _train(resolved, as_json)


def _show_plan(config: Any, as_json: bool) -> None:
    from safechain_ray.commands.finetune.finetune import plan_finetune
    from safechain_ray.report.finetune import plan_document, plan_summary
    from safechain_ray.report.renderers import print_document

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
    from safechain_ray.report.finetune import outcome_document
    from safechain_ray.report.progress import training_progress_for
    from safechain_ray.report.renderers import print_document

    interruptible()
    with quiet_libraries() as terminal, training_progress_for(terminal) as progress:
        done = run_training(config, progress)
    if as_json:
        click.echo(done.record.to_json(), nl=False)
        return
    console = Console()
    print_document(outcome_document(done.record), console)
    console.print(f"Model: {done.model}", highlight=False, markup=False, soft_wrap=True)
