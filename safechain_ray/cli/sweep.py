"""`safechain-ray sweep`: the same settings of many models."""

import json
import math
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from safechain_ray.catalog.published import published_figures
from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, FAILED, interruptible, output_options
from safechain_ray.cli.options import (
    batch_invariant_option,
    by_key,
    cluster_options,
    config_options,
    device_option,
    folder_option,
    format_option,
    gpu_options,
    html_option,
    paper_options,
    parse_stand_ins,
    report_to_option,
    show,
)
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.config import SweepConfig, read_config_as
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.document import Document, printable_lines
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray sweep --config paper/main_table --profile demo
  safechain-ray sweep --config paper/main_table --paper
  safechain-ray sweep --config paper/main_table --output s3://bucket/main_table --skip Kimi-k1.5
  safechain-ray sweep --config paper/main_table --deadline 07:00 --retries 3
"""

SPAN = re.compile(r"\+(?:(\d+)h)?(?:(\d+)m)?")


class Deadline(click.ParamType[float]):
    """A time of day, a date with a time, or a span from now; converted to seconds since the epoch.

    A time of day is the next one: at 22:00, 07:00 is tomorrow's. Times are in the driver's time zone, which in a job
    is the cluster's, mostly UTC.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = when(value, datetime.now().astimezone())
        except ValueError:
            self.fail(f"{value!r} is no time. Fix: write 07:00, 2026-12-31T07:00+01:00 or +8h30m.", param, ctx)
        if found <= time.time():
            self.fail(f"{value} has passed. Fix: give a later time.", param, ctx)
        return found


def when(text: str, now: datetime) -> float:
    """The seconds since the epoch that `text` means at `now`. Raises ValueError for any other text."""
    span = SPAN.fullmatch(text)
    if span and any(span.groups()):
        hours, minutes = (int(number or 0) for number in span.groups())
        try:
            return (now + timedelta(hours=hours, minutes=minutes)).timestamp()
        except OverflowError as error:
            raise ValueError("the time is after the year 9999") from error
    if re.fullmatch(r"\d{1,2}:\d{2}", text):
        hour, minute = map(int, text.split(":"))
        today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (today if today > now else today + timedelta(days=1)).timestamp()
    return datetime.fromisoformat(text).timestamp()


@click.command(epilog=EXAMPLES)
@config_options(required=True)
@paper_options
@click.option("--only", multiple=True, metavar="MODEL", help="Only this model of the sweep. Repeatable.")
@click.option("--skip", multiple=True, metavar="MODEL", help="Leave this model out. Repeatable.")
@folder_option("sweep")
@report_to_option
@click.option(
    "--retries", type=click.IntRange(0), default=1, show_default=True, help="Further attempts of a failed model."
)
@click.option(
    "--deadline",
    type=Deadline(),
    metavar="TIME",
    help="Stop at this time: 07:00 (the driver's clock), 2026-12-31T07:00+01:00, or +8h (from now).",
)
@click.option(
    "--at-once",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    metavar="N",
    help="Models that run at once.",
)
@device_option()
@gpu_options
@batch_invariant_option
@cluster_options
@html_option("Write report.html of each run and of the sweep (the default), or leave them out.")
@format_option
@output_options
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
    output_format: str,
    **flags: Any,
) -> None:
    """Evaluate many models under the same settings.

    Models run side by side if the cluster has room for several. Each model has its own run in a folder below the
    sweep's. Rerun the command to resume. The largest models start first, and scale up when others release GPUs. Judges
    are loaded once for all models if they fit beside them. A failed model is retried, does not stop the others, and is
    reported at the end (exit code 1). With a deadline, models that wait for GPUs take turns, so that a fair part of
    every setting is completed in time.
    """
    from safechain_ray.commands.sweep.schedule import SweepOptions
    from safechain_ray.commands.sweep.sweep import sweep as run_sweep
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_report, write_sweep_report
    from safechain_ray.report.leaderboard import write_leaderboard
    from safechain_ray.report.progress import progress_for

    stand_ins = parse_stand_ins(paper, paper_dataset)
    resolved = read_config_as(SweepConfig, config, by_key(flags), assignments, profile)
    interruptible()
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        options = SweepOptions(retries, at_once, math.inf if deadline is None else deadline)
        done = run_sweep(resolved, progress, start_vllm, only, skip, options)
    document = sweep_document(done.metrics, done.models, stand_ins)
    write_leaderboard(done.folder, done.metrics, done.models, document)
    if html:
        for model in done.models:
            if model.status == "done":
                write_report(done.folder / model.folder, stand_ins=stand_ins or NO_STAND_INS)
        report = write_sweep_report(done.folder, stand_ins=stand_ins or NO_STAND_INS)
    if as_json:
        click.echo(sweep_json(done.models, done.metrics))
    else:
        show(document, output_format)
        print_location("Results", done.folder)
        if html:
            print_location("Report", report)
    if done.incomplete:
        click.echo(f"Not finished: {', '.join(done.incomplete)}. Rerun the command to resume.", err=True)
    for model in done.asked_for:
        if model.status == "failed":
            click.echo(printable_lines(f"{model.model} failed: {model.error}"), err=True)
    sys.exit(FAILED if done.failed else ERRORS_IN_SAMPLES if done.errors else DONE)


def sweep_document(runs: Sequence[RunMetrics], models: Sequence[SweptModel], stand_ins: StandIns | None) -> Document:
    """The sweep's tables; with `stand_ins`, beside the published figures."""
    from safechain_ray.report.leaderboard import leaderboard, leaderboard_beside

    if stand_ins is None:
        return leaderboard(runs, models)
    return leaderboard_beside(runs, published_figures(), stand_ins, models)


def sweep_json(models: Sequence[SweptModel], runs: Sequence[RunMetrics]) -> str:
    """The JSON output of `sweep`, and of `report` for a sweep."""
    tree = {
        "models": [each.model_dump(by_alias=True) for each in models],
        "metrics": [each.model_dump(mode="json") for each in runs],
    }
    return json.dumps(tree, indent=2)
