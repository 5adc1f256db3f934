"""The `safechain-ray` command: reads flags, calls a pipeline, shows what came of it."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray import __version__, catalog
from safechain_ray.cli.benchmark import benchmark
from safechain_ray.cli.build_dataset import build_dataset
from safechain_ray.cli.common import (
    DONE,
    ERRORS_IN_SAMPLES,
    Command,
    ExitCode,
    batch_invariant_flag,
    by_key,
    interruptible,
    only_given,
    output_flags,
    profile_flag,
    quiet_libraries,
)
from safechain_ray.cli.compare import compare
from safechain_ray.cli.doctor import doctor
from safechain_ray.cli.finetune import finetune
from safechain_ray.cli.judge import judge
from safechain_ray.cli.judge_study import judge_study
from safechain_ray.cli.prefer import prefer
from safechain_ray.cli.report import report
from safechain_ray.cli.status import status
from safechain_ray.cli.sweep import plan_sweep, sweep
from safechain_ray.config import CONFIG_KINDS, RunConfig, config_kind, json_schema, read_config
from safechain_ray.errors import InputError
from safechain_ray.report.escape import printable
from safechain_ray.report.listing import LISTINGS, entries, print_entries
from safechain_ray.storage import without_secrets
from safechain_ray.types.yaml_text import dump_yaml

RUN_EXAMPLES = """\b
Examples:
  safechain-ray {command} --model demo-reasoner --dataset quickstart --judge demo-guard
  safechain-ray {command} --model R1-7B --dataset strongreject --strategy zerothink --samples 5 \\
      --temperature 0.6 --top-p 0.95 --judge llama-guard-3-8b --output s3://bucket/runs/r1-7b
  safechain-ray {command} --model openai:my-model --base-url http://localhost:8000/v1 --max-requests 500 \\
      --dataset strongreject --judge refusal-match
  safechain-ray {command} --config run.yaml --set sampling.temperature=0.6
"""

DATASET_FLAGS = {
    "config": "--name",
    "split": "--split",
    "prompt_column": "--prompt-column",
    "id_column": "--id-column",
    "category_column": "--category-column",
    "benign_categories": "--benign-category",
    "limit": "--limit",
    "shuffle_seed": "--shuffle-seed",
}
"""Keys of a data set's config, with the flags that set them for each --dataset."""

PLAN_SWEEP_EXAMPLE = "  safechain-ray plan --config configs/paper/main_table.yaml\n"


def run_flags(command: Command) -> Command:
    """The flags that make a run config. Each maps to a key of the config; a flag left out leaves the key alone."""
    flags = (
        click.option("-c", "--config", type=click.Path(path_type=Path), help="Run config in YAML; flags win over it."),
        profile_flag,
        click.option("-m", "--model", help="Catalog name, Hugging Face id or folder (local, s3://, gs://)."),
        click.option("--family", help="Model family, for a model that the catalog does not hold."),
        click.option("--base-url", metavar="URL", help="Endpoint of a model behind an API (--model openai:ID)."),
        click.option(
            "-d", "--dataset", multiple=True, help="Catalog name, file, folder, URI or Hugging Face id. Repeatable."
        ),
        click.option("--name", help="Config (subset) of a hub set or folder; needed if there are several."),
        click.option("--split", help="Split of a hub set or folder; needed if there are several."),
        click.option(
            "--prompt-column", help="Column that holds the prompts: text, or chat messages with one user turn."
        ),
        click.option("--id-column", help="Column that holds the prompts' ids."),
        click.option("--category-column", help="Column that holds the categories."),
        click.option(
            "--benign-category",
            "benign_categories",
            multiple=True,
            metavar="NAME",
            help="Category of benign prompts: they count for over-refusal, all other prompts for safety. Repeatable. "
            "Not needed for data sets of the catalog.",
        ),
        click.option("--limit", type=int, help="Only so many prompts of each data set."),
        click.option("--shuffle-seed", type=int, help="Shuffle the prompts before --limit."),
        click.option("-s", "--strategy", multiple=True, help="default, zerothink, lessthink, morethink. Repeatable."),
        click.option("-k", "--samples", type=int, help="K, the samples of each prompt."),
        click.option("--temperature", type=float, help="0 is greedy decoding."),
        click.option("--top-p", type=float, help="Nucleus sampling, in (0, 1]."),
        click.option("--top-k", type=int, help="-1 for all tokens."),
        click.option("--max-tokens", type=int, help="Most tokens of a response, thought included."),
        click.option("--seed", type=int, help="Seed of the run."),
        click.option("-j", "--judge", multiple=True, help="Judge by catalog name. Repeatable."),
        click.option("--vote", multiple=True, help="majority, any or all of the judges as one more. Repeatable."),
        click.option("--part", multiple=True, help="What is judged: response (default), thought, answer. Repeatable."),
        click.option("-o", "--output", help="The run's folder: a local path or URI."),
        click.option("--device", help="auto, cuda, or cpu, which insists on CPUs for any model."),
        click.option("--gpu-memory", type=int, metavar="GB", help="Memory of each GPU; read from the GPUs by default."),
        click.option("--accelerator", metavar="KIND", help="Only GPUs of this kind, as Ray names it: L4, L40S, H100."),
        batch_invariant_flag,
        click.option(
            "--replicas", type=int, help="Engine replicas of the model; by default as many as fit, one for 256 rows."
        ),
        click.option("--max-cost", type=float, metavar="DOLLARS", help="API: most that this try may spend."),
        click.option("--max-requests", type=int, help="API: most requests that this try may send."),
        click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started."),
        click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error."),
        click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config."),
    )
    for flag in reversed(flags):
        command = flag(command)
    return command


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},  # commands inherit both names
    epilog="Exit codes: 0 done, 1 failed, 2 wrong input, 3 done, but some samples ended with an error or a judge "
    "failed on some verdicts (judge-study, prefer: some are missing), 130 interrupted.",
)
@click.version_option(__version__, prog_name="safechain-ray")
def app() -> None:
    """Measure the safety of large reasoning models: in what they think and in what they answer."""


@app.command(epilog=RUN_EXAMPLES.format(command="evaluate"))
@run_flags
@click.option("--html/--no-html", default=True, help="Write report.html at the end (the default), or leave it out.")
@output_flags
def evaluate(*, as_json: bool, html: bool, **flags: Any) -> None:
    """Generate, judge and measure: one model, all settings. The same command again continues.

    Exit code 3: some samples ended with an error, or a judge failed on some verdicts.
    """
    from safechain_ray.commands.evaluate import evaluate as run_evaluation
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_report
    from safechain_ray.report.progress import progress_for
    from safechain_ray.report.tables import render_metrics

    config = _run_config(**flags)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = run_evaluation(config, progress, start_vllm)
    written = write_report(done.folder.folder) if html else None
    if as_json:
        click.echo(done.metrics.model_dump_json(indent=2))
    else:
        console = Console()
        render_metrics(done.metrics, console)
        console.print(f"Results: {done.folder.folder}", highlight=False, markup=False, soft_wrap=True)
        if written:
            console.print(printable(f"Report: {written}"), highlight=False, markup=False, soft_wrap=True)
    sys.exit(ERRORS_IN_SAMPLES if done.errors else DONE)


@app.command(epilog=RUN_EXAMPLES.format(command="plan") + PLAN_SWEEP_EXAMPLE)
@run_flags
@click.option(
    "--response-tokens", type=int, help="A sweep's estimate: tokens expected of a response; 2,000 by default."
)
@output_flags
def plan(*, as_json: bool, response_tokens: int | None, **flags: Any) -> None:
    """Show what a run would do on this cluster: rows, tokens at most, pools and stages. Starts no engine.

    With the config of a sweep: what its models will come to, in rows, tokens, GPU-hours and API cost.
    """
    from safechain_ray.commands.evaluate import plan_run
    from safechain_ray.report.plan import plan_summary, render_plan

    if config_kind(flags["config"]) == "sweep":
        plan_sweep(flags, response_tokens, as_json)
        return
    with quiet_libraries():
        run, made = plan_run(_run_config(**flags))
    if as_json:
        click.echo(json.dumps(plan_summary(run, made), indent=2))
    else:
        render_plan(plan_summary(run, made), Console())


@app.command("list", epilog="\b\nExample:\n  safechain-ray list models --json")
@click.argument("kind", type=click.Choice(list(LISTINGS)))
@output_flags
def list_command(*, kind: str, as_json: bool) -> None:
    """Show what the catalog holds."""
    if as_json:
        click.echo(json.dumps(entries(kind), indent=2))
    else:
        print_entries(kind, Console())


app.add_command(benchmark)
app.add_command(build_dataset)
app.add_command(compare)
app.add_command(doctor)
app.add_command(finetune)
app.add_command(judge)
app.add_command(judge_study)
app.add_command(prefer)
app.add_command(report)
app.add_command(status)
app.add_command(sweep)


@app.group("config")
def config_group() -> None:
    """About run configs."""


@config_group.command("schema", epilog="\b\nExample:\n  safechain-ray config schema > run.schema.json")
@click.argument("kind", type=click.Choice(list(CONFIG_KINDS)), default="run")
def config_schema(*, kind: str) -> None:
    """Print the JSON schema of a run's config (a sweep's, a study's, a benchmark's): editors check by it."""
    click.echo(json.dumps(json_schema(kind), indent=2))


@config_group.command("show", epilog=RUN_EXAMPLES.format(command="config show"))
@run_flags
@output_flags
def config_show(*, as_json: bool, **flags: Any) -> None:
    """Print the whole config that these flags make, with its defaults; secrets in URIs as ***.

    Unknown judges and strategies are refused, and data sets that are no catalog name, file, URI or hub id. The model
    is not checked.
    """
    from safechain_ray.decoding.base import strategy
    from safechain_ray.runs.resolve import dataset_entry

    config = _run_config(**flags)
    names = {dataset.name: dataset_entry(dataset).name for dataset in config.datasets}
    for setting in config.expand_settings(names):
        strategy(setting.strategy)
    for each in config.judges:
        catalog.lookup("judge", catalog.judges(), each.name)
    tree = without_secrets(config.model_dump(mode="json"))
    click.echo(json.dumps(tree, indent=2) if as_json else dump_yaml(tree).rstrip())


def _run_config(
    *,
    config: Path | None,
    profile: str | None,
    assignments: tuple[str, ...],
    dataset: tuple[str, ...],
    vote: tuple[str, ...],
    **flags: Any,
) -> RunConfig:
    columns = {key: flags.pop("name" if key == "config" else key) for key in DATASET_FLAGS}
    keys = {
        "model": "model.name",
        "family": "model.family",
        "base_url": "model.base_url",
        "strategy": "strategies",
        "judge": "judges",
        "part": "parts",
        "samples": "samples",
        "output": "output",
        **{key: f"sampling.{key}" for key in ("temperature", "top_p", "top_k", "max_tokens", "seed")},
        **{
            key: f"resources.{key}"
            for key in (
                *("device", "gpu_memory", "accelerator", "batch_invariant", "replicas"),
                *("max_cost", "max_requests", "ray_address"),
            )
        },
        "stall_timeout": "resources.stall_timeout_minutes",
    }
    given = by_key(keys, flags)
    if dataset:
        given["datasets"] = [{"name": name, **only_given(columns)} for name in dataset]
    elif only_given(columns):
        flag = DATASET_FLAGS[next(iter(only_given(columns)))]
        raise InputError(f"{flag} needs a --dataset. Fix: add --dataset.")
    if vote:
        given["votes"] = [{"name": f"vote-{rule}", "rule": rule} for rule in vote]
    return read_config(config, given, assignments, profile)


def main() -> None:
    """The console script."""
    kept = ExitCode()
    try:
        app(prog_name="safechain-ray")
    except SystemExit as end:
        kept.keep(end.code)
        raise
