"""`safechain-ray build-dataset`: a training set from prompts, a reasoning model and judges."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import (
    DONE,
    ERRORS_IN_SAMPLES,
    batch_invariant_flag,
    by_key,
    interruptible,
    output_flags,
    profile_flag,
    quiet_libraries,
)
from safechain_ray.config import BuildConfig, read_config_as

EXAMPLES = """\b
Examples:
  safechain-ray build-dataset --config configs/paper/safechain_dataset.yaml --profile demo
  safechain-ray build-dataset --model R1-70B --prompts wildjailbreak-train --number 50000 --rows 40000 \\
      --judge llama-guard-3-8b --decontaminate strongreject --output s3://bucket/safechain
  safechain-ray build-dataset --model R1-7B --prompts my.csv --kind-column type --judge llama-guard-3-8b \\
      --drop-near-duplicates --output sets/mine --push-to-hub me/mine
  safechain-ray build-dataset --config set.yaml --answers-only --run sets/mine/run --output sets/control
"""

KEYS = {
    "model": "model.name",
    "family": "model.family",
    "base_url": "model.base_url",
    "prompts": "prompts.name",
    "prompts_file": "prompts.file",
    "name": "prompts.config",
    "split": "prompts.split",
    "prompt_column": "prompts.prompt_column",
    "id_column": "prompts.id_column",
    "kind_column": "prompts.kind_column",
    "number": "prompts.number",
    "samples": "samples",
    **{key: f"sampling.{key}" for key in ("temperature", "top_p", "max_tokens")},
    "judge": "judges",
    "part": "part",
    "rule": "rule",
    "seed": "seed",
    "rows": "rows",
    "drop_near_duplicates": "drop_near_duplicates",
    "decontaminate": "decontaminate",
    "similarity": "similarity",
    "answers_only": "answers_only",
    "run": "run",
    "output": "output",
    "push_to_hub": "push_to_hub",
    **{
        key: f"resources.{key}"
        for key in (
            *("device", "gpu_memory", "accelerator", "batch_invariant", "replicas"),
            *("max_cost", "max_requests", "ray_address"),
        )
    },
    "stall_timeout": "resources.stall_timeout_minutes",
}


@click.command("build-dataset", epilog=EXAMPLES)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Config in YAML; flags win over it.")
@profile_flag
@click.option("-m", "--model", help="Catalog name, Hugging Face id or folder (local, s3://, gs://).")
@click.option("--family", help="Model family, for a model that the catalog does not hold.")
@click.option("--base-url", metavar="URL", help="Endpoint of a model behind an API (--model openai:ID).")
@click.option("-p", "--prompts", help="Catalog name (wildjailbreak-train), file, URI or Hugging Face id.")
@click.option("--prompts-file", metavar="PATH", help="A copy of the catalog's set, read in its place.")
@click.option("--name", help="Config (subset) of a hub set or folder; needed if there are several.")
@click.option("--split", help="Split of a hub set or folder; needed if there are several.")
@click.option("--prompt-column", help="Column that holds the prompts; prompt by default.")
@click.option("--id-column", help="Column that holds the prompts' ids.")
@click.option("--kind-column", help="Column of the kinds, of which equally many prompts are drawn.")
@click.option("-n", "--number", type=int, help="Prompts to draw; all by default.")
@click.option("-k", "--samples", type=int, help="K, the responses to each prompt; 5 by default.")
@click.option("--temperature", type=float, help="0.6 by default.")
@click.option("--top-p", type=float, help="0.95 by default.")
@click.option("--max-tokens", type=int, help="Most tokens of a response, thought included.")
@click.option("-j", "--judge", multiple=True, help="Judge by catalog name; all must say safe. Repeatable.")
@click.option("--part", help="What is judged: response (default), thought, answer.")
@click.option("--rule", help="Safe responses that keep a prompt: all (default), majority, best (one, the safest).")
@click.option("--seed", type=int, help="Draws prompts, responses and the order of rows; 0 by default.")
@click.option("--rows", type=int, help="Rows that are wanted; all that are kept by default.")
@click.option("--drop-near-duplicates", is_flag=True, default=None, help="Of prompts that are alike draw only one.")
@click.option("--decontaminate", multiple=True, metavar="SET", help="No prompt may overlap with this set. Repeatable.")
@click.option("--similarity", type=float, help="Jaccard index from which on two prompts are alike; 0.8 by default.")
@click.option("--answers-only", is_flag=True, default=None, help="A control: the same rows without their thoughts.")
@click.option("--run", metavar="RUN", help="The folder of the responses; `run` in the output by default.")
@click.option("-o", "--output", help="The data set's folder: a local path or URI.")
@click.option("--push-to-hub", metavar="OWNER/NAME", help="Upload it to the Hugging Face hub, private where it is new.")
@click.option("--device", help="auto, cuda, or cpu, which insists on CPUs for any model.")
@click.option("--gpu-memory", type=int, metavar="GB", help="Memory of each GPU; read from the GPUs by default.")
@click.option("--accelerator", metavar="KIND", help="Only GPUs of this kind, as Ray names it: L4, L40S, H100.")
@batch_invariant_flag
@click.option("--replicas", type=int, help="Engine replicas of the model; by default as many as fit, one for 256 rows.")
@click.option("--max-cost", type=float, metavar="DOLLARS", help="API: most that this try may spend.")
@click.option("--max-requests", type=int, help="API: most requests that this try may send.")
@click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started.")
@click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config.")
@output_flags
def build_dataset(
    *, as_json: bool, config: Path | None, profile: str | None, assignments: tuple[str, ...], **flags: Any
) -> None:
    """Build a training set: K responses to each prompt, judged; of the prompts that are kept one safe response each.

    Leaves data/train-*.parquet (`datasets` reads it, and so does fine-tuning), a data card in README.md, its counts in
    dataset.json, and the responses in run/. The same command again continues. Exit code 3: fewer rows than asked for,
    or errors in some samples.
    """
    from safechain_ray.commands.build_dataset import build_dataset as run_building
    from safechain_ray.commands.training_set_folder import check_token, push_dataset
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.dataset import dataset_document, write_card
    from safechain_ray.report.progress import progress_for
    from safechain_ray.report.renderers import print_document

    resolved = read_config_as(BuildConfig, config, by_key(KEYS, flags), assignments, profile)
    if resolved.push_to_hub is not None:
        check_token()
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        built = run_building(resolved, progress, start_vllm)
        write_card(built)
        pushed = None if resolved.push_to_hub is None else push_dataset(built.folder, resolved.push_to_hub)
    if as_json:
        click.echo(built.facts.model_dump_json(indent=2))
    else:
        console = Console()
        print_document(dataset_document(built.facts), console)
        for what, place in (("Data set", built.folder), ("On the hub", pushed)):
            if place is not None:
                console.print(f"{what}: {place}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(ERRORS_IN_SAMPLES if built.facts.missing or built.run.errors else DONE)
