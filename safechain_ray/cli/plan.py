"""`safechain-ray plan`: what a run or a sweep would do, without an engine."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from safechain_ray.cli.common import output_options
from safechain_ray.cli.evaluate import read_run_config, run_examples, run_options
from safechain_ray.cli.options import by_key, keyed_options, only_given
from safechain_ray.cli.sweep import sweep
from safechain_ray.config import SweepConfig, config_kind, read_config_as
from safechain_ray.errors import InputError, PlanError
from safechain_ray.report.quiet import quiet_libraries

if TYPE_CHECKING:
    from safechain_ray.commands.sweep.estimate import Assumptions

SWEEP_EXAMPLE = "  safechain-ray plan --config paper/main_table\n"


@click.command(epilog=run_examples("plan") + SWEEP_EXAMPLE)
@run_options
@click.option(
    "--response-tokens", type=click.IntRange(min=1), help="Tokens of a response in an estimate; 2,000 by default."
)
@output_options
def plan(*, as_json: bool, response_tokens: int | None, **flags: Any) -> None:
    """Show what a run or sweep would do on this cluster.

    Starts no engine. Shows the rows, the most tokens, the pools and the stages of a run. With the config of a sweep:
    estimates of the rows, tokens, GPU-hours and API cost of its models. A run that does not fit this cluster is
    estimated like a sweep (not with --json), and the command ends with the reason and exit code 2.
    """
    from safechain_ray.commands.evaluate import plan_run
    from safechain_ray.commands.sweep.estimate import estimate_run
    from safechain_ray.report.plan import plan_summary, render_plan, render_sweep_plan

    if config_kind(flags["config"]) == "sweep":
        _plan_sweep(flags, response_tokens, as_json)
        return
    config = read_run_config(**flags)
    try:
        with quiet_libraries():
            run, made = plan_run(config)
    except PlanError:
        if not as_json:
            assumptions = _assumptions(response_tokens)
            render_sweep_plan([estimate_run(config, assumptions)], assumptions, Console())
        raise
    if as_json:
        click.echo(json.dumps(plan_summary(run, made), indent=2))
    else:
        render_plan(plan_summary(run, made), Console())


def _plan_sweep(flags: Mapping[str, Any], response_tokens: int | None, as_json: bool) -> None:
    """Print the estimate of a sweep. Only those flags of `plan` apply that `sweep` has too."""
    from safechain_ray.commands.sweep.estimate import estimate_sweep
    from safechain_ray.report.plan import render_sweep_plan, sweep_summary

    given = only_given(flags)
    config, profile, assignments = given.pop("config"), given.pop("profile", None), given.pop("assignments", ())
    applicable = {option.name for option in keyed_options(sweep)}
    if foreign := [flag for flag in given if flag not in applicable]:
        raise InputError(
            f"--{foreign[0].replace('_', '-')} is for a single run, and {config} is a sweep. Fix: use --set KEY=VALUE, "
            "or leave it out."
        )
    sweep_config = read_config_as(SweepConfig, config, by_key(given), assignments, profile)
    assumptions = _assumptions(response_tokens)
    estimates = estimate_sweep(sweep_config, assumptions)
    if as_json:
        click.echo(json.dumps(sweep_summary(estimates, assumptions), indent=2))
    else:
        render_sweep_plan(estimates, assumptions, Console())


def _assumptions(response_tokens: int | None) -> "Assumptions":
    from safechain_ray.commands.sweep.estimate import Assumptions

    return Assumptions() if response_tokens is None else Assumptions(response_tokens=response_tokens)
