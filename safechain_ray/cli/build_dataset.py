"""`safechain-ray build-dataset`: a training set from prompts, a reasoning model and judges."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options
from safechain_ray.cli.options import (
    by_key,
    config_options,
    dataset_options,
    folder_option,
    key_option,
    model_options,
    resource_options,
)
from safechain_ray.config import BuildConfig, read_config_as
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray build-dataset --config paper/safechain_dataset --profile demo
  safechain-ray build-dataset --model R1-70B --prompts wildjailbreak-train --number 50000 --rows 40000 \\
      --judge llama-guard-3-8b --decontaminate strongreject --output s3://bucket/safechain
  safechain-ray build-dataset --model R1-7B --prompts my.csv --kind-column type --judge llama-guard-3-8b \\
      --drop-near-duplicates --output sets/mine --push-to-hub me/mine
  safechain-ray build-dataset --config set.yaml --answers-only --run sets/mine/run --output sets/control
"""


@click.command("build-dataset", epilog=EXAMPLES)
@config_options()
@model_options
@key_option("prompts.name", "-p", "--prompts", help="Catalog name (wildjailbreak-train), file, URI or Hugging Face id.")
@key_option("prompts.file", "--prompts-file", metavar="PATH", help="Local copy of the catalog's set, read instead.")
@dataset_options("prompts.")
@key_option("prompts.id_column", "--id-column", help="Column that holds the prompts' ids.")
@key_option(
    "prompts.kind_column", "--kind-column", help="Column of the prompts' kinds; each kind gives as many prompts."
)
@key_option("prompts.number", "-n", "--number", type=int, help="Prompts to draw; all by default.")
@key_option("samples", "-k", "--samples", type=int, help="K, the responses to each prompt; 5 by default.")
@key_option("sampling.temperature", "--temperature", type=float, help="Sampling temperature; 0.6 by default.")
@key_option("sampling.top_p", "--top-p", type=float, help="Nucleus sampling, in (0, 1]; 0.95 by default.")
@key_option("sampling.max_tokens", "--max-tokens", type=int, help="Most tokens of a response, thought included.")
@key_option(
    "judges", "-j", "--judge", multiple=True, help="Judge by catalog name; all judges must say safe. Repeatable."
)
@key_option("part", "--part", help="What is judged: response (default), thought, answer.")
@key_option(
    "rule", "--rule", help="Responses that must be safe: all (default), majority, or best (one; the safest is kept)."
)
@key_option("seed", "--seed", type=int, help="Seed of prompts, kept responses and row order; 0 by default.")
@key_option("rows", "--rows", type=int, help="Rows to write; by default all that are kept.")
@key_option(
    "drop_near_duplicates",
    "--drop-near-duplicates",
    is_flag=True,
    default=None,
    help="Draw only one of several near-duplicate prompts.",
)
@key_option(
    "decontaminate",
    "--decontaminate",
    multiple=True,
    metavar="SET",
    help="Leave out prompts that overlap with this data set. Repeatable.",
)
@key_option(
    "similarity",
    "--similarity",
    type=float,
    help="Jaccard index from which two prompts are near-duplicates; 0.8 by default.",
)
@key_option(
    "answers_only",
    "--answers-only",
    is_flag=True,
    default=None,
    help="Build a control set: the same rows without thoughts.",
)
@key_option("run", "--run", metavar="RUN", help="The folder of the responses; `run` in the output by default.")
@folder_option("data set")
@key_option(
    "push_to_hub",
    "--push-to-hub",
    metavar="OWNER/NAME",
    help="Upload the data set to the Hugging Face hub; a new repository is private.",
)
@resource_options
@output_options
def build_dataset(
    *, as_json: bool, config: Path | None, profile: str | None, assignments: tuple[str, ...], **flags: Any
) -> None:
    """Build a training set from prompts, a model and judges.

    The model gives K responses to each prompt, and judges read them. Each kept prompt gives one safe response.
    Writes data/train-*.parquet (`datasets` reads it, and so does fine-tuning), a data card in README.md, its counts in
    dataset.json, and the responses in run/. Rerun the command to resume. Exit code 3: fewer rows than asked for,
    or errors in some samples.
    """
    from safechain_ray.commands.build_dataset import build_dataset as run_building
    from safechain_ray.commands.training_set_folder import check_token, push_dataset
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.progress import progress_for
    from safechain_ray.report.renderers import print_document
    from safechain_ray.report.training import dataset_document, write_card

    resolved = read_config_as(BuildConfig, config, by_key(flags), assignments, profile)
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
        print_document(dataset_document(built.facts), Console())
        print_location("Data set", built.folder)
        if pushed is not None:
            print_location("On the hub", pushed)
    sys.exit(ERRORS_IN_SAMPLES if built.facts.missing or built.run.errors else DONE)
