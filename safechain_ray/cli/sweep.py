"""`safechain-ray sweep`: the same settings of many models; and what `plan` shows of a sweep."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import (
    DONE,
    ERRORS_IN_SAMPLES,
    FAILED,
    batch_invariant_flag,
    by_key,
    interruptible,
    is_given,
    output_flags,
    profile_flag,
    quiet_libraries,
)
from safechain_ray.cli.options import DEADLINE, format_flag, paper_flags, show, stand_ins
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.config import read_sweep_config
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.document import Document
from safechain_ray.report.escape import printable, printable_lines

EXAMPLES = """\b
Examples:
  safechain-ray sweep --config configs/paper/main_table.yaml --profile demo
  safechain-ray sweep --config configs/paper/main_table.yaml --paper
  safechain-ray sweep --config configs/paper/main_table.yaml --output s3://bucket/main_table --skip Kimi-k1.5
  safechain-ray sweep --config configs/paper/main_table.yaml --deadline 07:00 --retries 3
"""

KEYS = {
    "output": "output",
    "gpu_memory": "resources.gpu_memory",
    "accelerator": "resources.accelerator",
    "batch_invariant": "resources.batch_invariant",
    "ray_address": "resources.ray_address",
    "stall_timeout": "resources.stall_timeout_minutes",
}


@click.command(epilog=EXAMPLES)
@click.option("-c", "--config", type=click.Path(path_type=Path), required=True, help="Sweep config in YAML.")
@profile_flag
@paper_flags
@click.option("--only", multiple=True, metavar="MODEL", help="Only this model of the sweep. Repeatable.")
@click.option("--skip", multiple=True, metavar="MODEL", help="Not this model. Repeatable.")
@click.option("-o", "--output", help="The sweep's folder: a local path or URI.")
@click.option(
    "--retries", type=click.IntRange(0), default=1, show_default=True, help="Further tries of a failed model."
)
@click.option(
    "--deadline",
    type=DEADLINE,
    metavar="TIME",
    help="Stop at 07:00 of the driver's clock, at 2026-12-31T07:00+01:00, or in +8h.",
)
@click.option(
    "--at-once", type=click.IntRange(1), default=16, show_default=True, metavar="N", help="Models at work at most."
)
@click.option("--gpu-memory", type=int, metavar="GB", help="Memory of each GPU; read from the GPUs by default.")
@click.option("--accelerator", metavar="KIND", help="Only GPUs of this kind, as Ray names it: L4, L40S, H100.")
@batch_invariant_flag
@click.option("--ray-address", help="Join this Ray cluster; else RAY_ADDRESS, else a local Ray is started.")
@click.option("--stall-timeout", type=float, metavar="MINUTES", help="No progress for so long is an error.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any key of the config.")
@click.option("--html/--no-html", default=True, help="Write report.html of each run and of the sweep (the default).")
@format_flag
@output_flags
def sweep(
    *,
    as_json: bool,
    config: Path,
    profile: str | None,
    paper: str | None,
    paper_dataset: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    retries: int,
    deadline: float | None,
    at_once: int,
    assignments: tuple[str, ...],
    html: bool,
    shape: str,
    **flags: Any,
) -> None:
    """Evaluate many models under the same settings, side by side where the cluster has room for several.

    Each model has its own run in a folder below the sweep's; the same command again continues. The largest start
    first, and grow into the room that others leave; judges are loaded once for all where they fit beside the models.
    A model that fails is tried again, leaves the others alone and is told at the end (exit code 1). With a deadline
    models that wait for room take turns, and what is done by then is a fair part of every setting.
    """
    from safechain_ray.commands.sweep.schedule import SweepOptions
    from safechain_ray.commands.sweep.sweep import sweep as run_sweep
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_report, write_sweep_report
    from safechain_ray.report.leaderboard import write_leaderboard
    from safechain_ray.report.progress import progress_for

    standing = stand_ins(paper, paper_dataset)
    resolved = read_sweep_config(config, by_key(KEYS, flags), assignments, profile)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        options = SweepOptions(retries, at_once, math.inf if deadline is None else deadline)
        done = run_sweep(resolved, progress, start_vllm, only, skip, options)
    document = sweep_document(done.metrics, done.models, standing)
    write_leaderboard(done.folder, done.metrics, done.models, document)
    if html:
        for model in done.models:
            if model.status == "done":
                write_report(done.folder / model.folder, stand_ins=standing or NO_STAND_INS)
        report = write_sweep_report(done.folder, stand_ins=standing or NO_STAND_INS)
    if as_json:
        click.echo(sweep_json(done.models, done.metrics))
    else:
        show(document, shape)
        Console().print(printable(f"Results: {done.folder}"), highlight=False, markup=False, soft_wrap=True)
        if html:
            Console().print(printable(f"Report: {report}"), highlight=False, markup=False, soft_wrap=True)
    if done.incomplete:
        click.echo(f"Not finished: {', '.join(done.incomplete)}. Rerun the command to resume.", err=True)
    for model in done.asked_for:
        if model.status == "failed":
            click.echo(printable_lines(f"{model.model} failed: {model.error}"), err=True)
    sys.exit(FAILED if done.failed else ERRORS_IN_SAMPLES if done.errors else DONE)


def sweep_document(runs: Sequence[RunMetrics], models: Sequence[SweptModel], standing: StandIns | None) -> Document:
    """The sweep's tables, with the published figures where they are asked for."""
    from safechain_ray.report.leaderboard import leaderboard, leaderboard_beside

    if standing is None:
        return leaderboard(runs, models)
    return leaderboard_beside(runs, published_figures(), standing, models)


def sweep_json(models: Sequence[SweptModel], runs: Sequence[RunMetrics]) -> str:
    """What `--json` of `sweep` and of a sweep's `report` prints."""
    tree = {
        "models": [each.model_dump(by_alias=True) for each in models],
        "metrics": [each.model_dump(mode="json") for each in runs],
    }
    return json.dumps(tree, indent=2)


def plan_sweep(flags: Mapping[str, Any], response_tokens: int | None, as_json: bool) -> None:
    """What a sweep will come to, on stdout. `flags` are those of `plan`, of which few say something to a sweep."""
    from safechain_ray.commands.sweep.estimate import Assumptions, estimate_sweep
    from safechain_ray.report.plan import render_sweep_plan, sweep_summary

    given = {key: value for key, value in flags.items() if is_given(value)}
    config, profile, assignments = given.pop("config"), given.pop("profile", None), given.pop("assignments", ())
    foreign = [key for key in given if key not in KEYS]
    if foreign:
        raise InputError(
            f"--{foreign[0].replace('_', '-')} is for a single run; {config} names many models. Use --set KEY=VALUE."
        )
    sweep_config = read_sweep_config(config, by_key(KEYS, given), assignments, profile)
    assumptions = Assumptions()
    if response_tokens is not None:
        assumptions = replace(assumptions, response_tokens=response_tokens)
    estimates = estimate_sweep(sweep_config, assumptions)
    if as_json:
        click.echo(json.dumps(sweep_summary(estimates, assumptions), indent=2))
    else:
        render_sweep_plan(estimates, assumptions, Console())
