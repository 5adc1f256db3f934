"""`safechain-ray judge-study`: judges held against human labels."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import (
    DONE,
    ERRORS_IN_SAMPLES,
    by_key,
    interruptible,
    output_flags,
    profile_flag,
    quiet_libraries,
)
from safechain_ray.config import StudyConfig, read_config_as

EXAMPLES = """\b
Examples:
  safechain-ray judge-study --data labels.csv --judge refusal-match
  safechain-ray judge-study --data labels.csv --prompt-column question --response-column answer \\
      --label-column label --judge llama-guard-3-8b --judge refusal-match --vote any --output studies/mine
  safechain-ray judge-study --config configs/paper/judge_study.yaml --profile demo
"""

KEYS = {
    "data": "data",
    "name": "config",
    "split": "split",
    "prompt_column": "prompt_column",
    "response_column": "response_column",
    "label_column": "label_column",
    "unsafe_label": "unsafe_labels",
    "judge": "judges",
    "vote": "votes",
    "output": "output",
    "device": "resources.device",
    "replicas": "resources.judge_replicas",
    "ray_address": "resources.ray_address",
    "stall_timeout": "resources.stall_timeout_minutes",
}


@click.command("judge-study", epilog=EXAMPLES)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="Study config in YAML; flags win over it.")
@profile_flag
@click.option(
    "--data", help="Labelled responses: file (CSV, JSON, JSONL, Parquet), folder, URI, Hugging Face id, catalog name."
)
@click.option("--name", help="Config (subset) of a hub set or folder; needed if there are several.")
@click.option("--split", help="Split of a hub set or folder; needed if there are several.")
@click.option("--prompt-column", help="Column that holds the prompts; prompt by default.")
@click.option("--response-column", help="Column that holds the responses; response by default.")
@click.option(
    "--label-column",
    help="Column that holds the labels; label by default. Labels are safe and unsafe, or true/false and 1/0: true "
    "means safe in is_safe, and unsafe in harmful or label. For other labels use --unsafe-label.",
)
@click.option(
    "--unsafe-label", multiple=True, help="A label that means unsafe; all other labels mean safe. Repeatable."
)
@click.option("-j", "--judge", multiple=True, help="Judge by catalog name. Repeatable.")
@click.option("--vote", multiple=True, help="A vote over all judges: majority, any, all say unsafe. Repeatable.")
@click.option("-o", "--output", help="The study's folder: a local path or URI.")
@click.option("--device", help="auto, cuda, or cpu, which insists on CPUs for any judge.")
@click.option("--replicas", type=int, help="Engine replicas of each judge; 1 by default.")
@click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started.")
@click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config.")
@output_flags
def judge_study(
    *, as_json: bool, config: Path | None, profile: str | None, assignments: tuple[str, ...], **flags: Any
) -> None:
    """Compare judges with human labels: accuracy, F1, Pearson's r, kappa. The same command again continues.

    Leaves study.json, study.md, study.svg, study.png, and in disagreements.parquet the rows on which a judge and the
    label differ. Exit code 3: some verdicts are missing.
    """
    from safechain_ray.commands.judge_study import judge_study as run_study
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.judge_study import study_document, write_study
    from safechain_ray.report.progress import progress_for
    from safechain_ray.report.renderers import print_document

    resolved = read_config_as(StudyConfig, config, by_key(KEYS, flags), assignments, profile)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_study(resolved, progress, start_vllm)
        write_study(done.study, done.folder.folder)
    if as_json:
        click.echo(done.study.model_dump_json(indent=2))
    else:
        console = Console()
        print_document(study_document(done.study), console)
        console.print(f"Results: {done.folder.folder}", highlight=False, markup=False, soft_wrap=True)
    sys.exit(ERRORS_IN_SAMPLES if done.study.missing_verdicts else DONE)
