"""`safechain-ray doctor`: what can be checked before a GPU is paid for, as a table of findings and as JSON."""

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn, get_args

import click
from rich.console import Console
from rich.table import Column, Table

from safechain_ray.cli.common import DONE, FAILED, output_options
from safechain_ray.cli.options import (
    ConfigFile,
    base_url_option,
    by_key,
    family_option,
    is_given,
    judge_option,
    key_option,
    only_given,
    set_option,
)
from safechain_ray.commands.doctor import Finding, Status, any_failed
from safechain_ray.config import CheckConfig, RunConfig, SweepConfig, config_kind, read_config_as
from safechain_ray.engines.start import Device
from safechain_ray.errors import InputError
from safechain_ray.report.document import escape
from safechain_ray.types import Sampling

COLOURS: dict[Status, str] = {"ok": "green", "warning": "yellow", "failed": "bold red", "not checked": "dim"}


def findings_summary(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as JSON, with a count of each status."""
    return {
        "failed": any_failed(findings),
        "counts": _counts(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def render_findings(findings: Sequence[Finding], console: Console) -> None:
    """One table a subject. Details quote foreign files, and are escaped."""
    for subject, group in groupby(findings, lambda finding: finding.subject):
        table = Table("status", "check", "found", box=None, show_header=False, pad_edge=False, padding=(0, 1))
        for finding in group:
            colour = COLOURS[finding.status]
            table.add_row(f"  [{colour}]{finding.status}[/]", escape(finding.check), _found(finding))
        console.print(f"[bold]{escape(subject)}[/]")
        console.print(table)
    counts = ", ".join(f"{count} {status}" for status, count in _counts(findings).items() if count)
    console.print(f"{len(findings)} checks: {counts}.", highlight=False)


def reports_summary(reports: Sequence[Any]) -> dict[str, Any]:
    """The reports of `--all-models` as JSON: the findings, a row for each model, and the unverified ones by reason."""
    from safechain_ray.commands.doctor.all_models import unverified_by_reason

    rows = ({"model": each.model, "family": each.family, **each.summary(), "thought": each.thought} for each in reports)
    return {
        **findings_summary([finding for report in reports for finding in report.findings]),
        "models": list(rows),
        "not_verified": [asdict(group) for group in unverified_by_reason(reports)],
    }


def render_reports(reports: Sequence[Any], console: Console) -> None:
    """One row a model; then each failed check and warning with its fix, and what could not be verified."""
    from safechain_ray.commands.doctor.all_models import BEHIND_API, COLUMNS, unverified_by_reason

    names = (Column(name, no_wrap=True) for name in ("model", "family"))
    table = Table(*names, *COLUMNS, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for report in reports:
        if report.unverified is None or report.unverified.detail != BEHIND_API:
            table.add_row(escape(report.model), escape(report.family), *map(_cell, report.summary().values()))
    console.print(table)
    for finding in (finding for report in reports for finding in report.findings):
        if finding.status in ("failed", "warning"):
            name = f"{escape(finding.subject)}, {escape(finding.check)}"
            console.print(f"[{COLOURS[finding.status]}]{finding.status}[/] {name}: {_found(finding)}", highlight=False)
    groups = unverified_by_reason(reports)
    for group in groups:
        fix = f" [italic]Fix: {escape(group.fix)}.[/]" if group.fix else ""
        models = escape(", ".join(group.models))
        console.print(f"[bold]not verified[/], {escape(group.reason)}: {models}.{fix}", highlight=False)
    failed = sum(any_failed(report.findings) for report in reports)
    unverified = sum(len(group.models) for group in groups)
    verified = sum(report.unverified is None and not any_failed(report.findings) for report in reports)
    console.print(
        f"{len(reports)} models: {verified} verified, {failed} failed, {unverified} not verified.", highlight=False
    )


def _cell(status: Status | None) -> str:
    return "[dim]-[/]" if status is None else f"[{COLOURS[status]}]{'?' if status == 'not checked' else status}[/]"


def _found(finding: Finding) -> str:
    detail = escape(finding.detail)
    return f"{detail}\n[italic]Fix: {escape(finding.fix)}.[/]" if finding.fix else detail


def _counts(findings: Sequence[Finding]) -> dict[Status, int]:
    counted = Counter(finding.status for finding in findings)
    return {status: counted[status] for status in get_args(Status)}


EXAMPLES = """\b
Examples:
  safechain-ray doctor
  safechain-ray doctor --model demo-reasoner --judge demo-guard --max-tokens 1000
  safechain-ray doctor --model R1-7B --judge llama-guard-3-8b --output s3://bucket/runs/r1-7b
  safechain-ray doctor --model Kimi-k1.5
  safechain-ray doctor --model openai:my-model --base-url http://localhost:8000/v1
  safechain-ray doctor --model R1-70B --weights /models/r1-70b --gpu-memory 48
  safechain-ray doctor --model R1-8B --gpu-memory 24 --set model.engine.context_length=20000
  safechain-ray doctor --config paper/main_table
  safechain-ray doctor --all-models --catalog mine.yaml
  safechain-ray doctor --gpu-check

Exit codes: 0 all is well, or only warnings; 1 a check failed; 2 wrong input.
"""


@click.command("doctor", epilog=EXAMPLES)
@click.option(
    "-c",
    "--config",
    type=ConfigFile(),
    help="Config file of a run or a sweep: check its models, judges and output. Beside it: --profile, --set, "
    "--gpu-memory.",
)
@click.option("--profile", metavar="NAME", help="Use the values under profiles.NAME of the config file.")
@key_option(
    "model.name",
    "-m",
    "--model",
    help="Catalog name, Hugging Face id or folder (local or in a store); by default the installation is checked.",
)
@family_option
@base_url_option
@judge_option
@click.option("--weights", help="Folder (local, s3://, gs://, az://) with the model's files, read instead of the hub.")
@click.option("-o", "--output", help="Check that this folder can be written: a local path or URI.")
@click.option(
    "--gpu-memory",
    type=int,
    metavar="GB",
    help="Memory of each GPU; by default that of this machine's GPUs, or common sizes.",
)
@click.option("--max-tokens", type=int, help="Longest response, for the judge's context; 16,000 by default.")
@set_option("Set a key of the config, or below model or judges.0. Repeatable.")
@click.option(
    "--all-models",
    is_flag=True,
    help="Check template, tags, prefills, switch and parser of all models of the catalog.",
)
@click.option("--gpu-check", is_flag=True, help="Test engines, a whole run and faults on this machine's GPU.")
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    help="With --gpu-check: cuda (default), or cpu to test the check itself.",
)
@click.option(
    "--step", "steps", multiple=True, metavar="NAME", help="With --gpu-check: run only this step. Repeatable."
)
@output_options
def doctor(
    *, as_json: bool, all_models: bool, gpu_check: bool, device: Any, steps: tuple[str, ...], **flags: Any
) -> None:
    """Check models, judges, an output, or this installation.

    Needs no GPU and no weights. Reports for each check whether it is ok, doubtful (warning), failed or could not be
    done here, and the fix.
    Of the models of --all-models only tokenizers are downloaded (docs/chat-templates.md).
    --gpu-check takes about ten minutes on one 80 GB GPU, and needs no internet (docs/gpu.md).
    """

    if (device or steps) and not gpu_check:
        raise InputError("--device and --step belong to --gpu-check. Fix: add --gpu-check, or leave them out.")
    if gpu_check and (all_models or any(map(is_given, flags.values()))):
        raise InputError(
            "--gpu-check takes no options but --device and --step. Fix: check models and outputs with a second command."
        )
    if all_models and any(map(is_given, flags.values())):
        raise InputError(
            "--all-models takes no options but --catalog and --json. Fix: check one model with a second command."
        )
    if all_models:
        _check_all_models(as_json)
    for flag in ("gpu_memory", "max_tokens"):
        if flags[flag] is not None and flags[flag] < 1:
            raise InputError(f"--{flag.replace('_', '-')}: {flags[flag]} is too small. Fix: give 1 or more.")
    config = flags.pop("config")
    if gpu_check:
        findings = _gpu_check(device or "cuda", steps)
    elif config is not None:
        findings = _config_findings(config, only_given(flags))
    else:
        findings = _findings(**flags)
    if as_json:
        click.echo(json.dumps(findings_summary(findings), indent=2))
    else:
        render_findings(findings, Console())
    sys.exit(FAILED if any(finding.status == "failed" for finding in findings) else DONE)


def _check_all_models(as_json: bool) -> NoReturn:
    from safechain_ray.commands.doctor.all_models import examine_all_models

    reports = list(examine_all_models())
    if as_json:
        click.echo(json.dumps(reports_summary(reports), indent=2))
    else:
        render_reports(reports, Console())
    sys.exit(FAILED if any(any_failed(report.findings) for report in reports) else DONE)


def _gpu_check(device: Device, names: tuple[str, ...]) -> list[Any]:
    from safechain_ray.commands.doctor import any_failed
    from safechain_ray.commands.gpu_check.check import Step, chosen_steps, run_steps

    def show(step: Step) -> None:
        click.echo(f"Step {step.name!r}, {step.seconds:g} s at most …", err=True)

    scratch = Path(tempfile.mkdtemp(prefix="safechain-gpu-check-"))
    findings = list(run_steps(chosen_steps(names), device, scratch, show))
    if any_failed(findings):
        click.echo(f"Logs: {scratch}", err=True)
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    return findings


OF_CONFIGS = ("profile", "assignments", "gpu_memory")
"""Options that apply beside --config; the config has the others."""


def _config_findings(config: Path, given: Mapping[str, Any]) -> list[Any]:
    from safechain_ray.commands.doctor.examine import examine_runs

    if foreign := [flag for flag in given if flag not in OF_CONFIGS]:
        raise InputError(
            f"--{foreign[0].replace('_', '-')} does not apply beside --config. Fix: set the key of the config with "
            "--set KEY=VALUE, or leave --config out."
        )
    assignments, profile = given.get("assignments", ()), given.get("profile")
    kind = config_kind(config)
    if kind not in ("run", "sweep", None):
        raise InputError(
            f"{config} is the config of a {kind}, and doctor checks those of runs and sweeps. Fix: name its model and "
            "judges with --model and --judge."
        )
    if kind == "sweep":
        sweep = read_config_as(SweepConfig, config, {}, assignments, profile)
        return list(examine_runs(sweep.runs(), sweep.output, given.get("gpu_memory")))
    run = read_config_as(RunConfig, config, {}, assignments, profile)
    return list(examine_runs([run], run.output, given.get("gpu_memory")))


def _findings(
    *,
    profile: str | None,
    model: str | None,
    family: str | None,
    base_url: str | None,
    judge: tuple[str, ...],
    weights: str | None,
    output: str | None,
    gpu_memory: int | None,
    max_tokens: int | None,
    assignments: tuple[str, ...],
) -> list[Any]:
    if profile is not None:
        raise InputError("--profile names a part of a config file. Fix: give the file with --config, or leave it out.")
    for flag, value in (("--weights", weights), ("--family", family), ("--base-url", base_url)):
        if value is not None and model is None:
            raise InputError(f"{flag} needs a --model. Fix: add --model.")
    if assignments and model is None and not judge:
        raise InputError("--set needs a --config, a --model or a --judge. Fix: add the one whose key it sets.")
    if model is None and not judge and output is None:
        from safechain_ray.commands.doctor.installation import check_installation

        return list(check_installation())
    from safechain_ray.commands.doctor.examine import examine

    named = {"model": model, "family": family, "base_url": base_url, "judge": judge}
    checked = read_config_as(CheckConfig, None, by_key(named), assignments)
    return list(
        examine(
            checked.model,
            checked.judges,
            weights=weights,
            output=output,
            gpu_memory=gpu_memory,
            max_tokens=max_tokens or Sampling().max_tokens,
        )
    )
