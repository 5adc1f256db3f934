"""`safechain-ray judge`: judges, and parts to judge, added to a finished run."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from safechain_ray.cli.common import DONE, ERRORS_IN_SAMPLES, interruptible, output_options
from safechain_ray.cli.options import (
    by_key,
    html_option,
    judge_option,
    judge_resource_options,
    key_option,
    parts_option,
    set_option,
    show,
)
from safechain_ray.config import ImportConfig, JudgingConfig, read_config_as
from safechain_ray.datasets.files import has_known_suffix
from safechain_ray.errors import InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.quiet import print_location, quiet_libraries

EXAMPLES = """\b
Examples:
  safechain-ray judge runs/demo --judge refusal-match --part answer
  safechain-ray judge s3://bucket/runs/r1-7b --judge llama-guard-3-8b --part thought --part answer
  safechain-ray judge runs/r1-7b --judge llama-guard-3-8b --pieces 8
  safechain-ray judge runs/demo --remove refusal-match
  safechain-ray judge responses.jsonl --judge refusal-match
"""


@click.command(epilog=EXAMPLES)
@click.argument("run")
@judge_option
@click.option("--remove", metavar="JUDGE", help="Remove an added judge and its verdicts from the run, and add none.")
@parts_option
@key_option(
    "pieces",
    "--pieces",
    type=int,
    metavar="N",
    help="Judge each thought up to 1/N, 2/N ... of its length, to find where it first turns unsafe.",
)
@judge_resource_options
@set_option("Set a key below judges.0 or resources. Repeatable.")
@html_option("Write report.html again (the default), or leave it as it is.")
@output_options
def judge(
    *, run: str, remove: str | None, as_json: bool, html: bool, assignments: tuple[str, ...], **flags: Any
) -> None:
    """Add judges, or parts to judge, to a finished run.

    RUN is its folder or URI, or a file of responses. A file is imported first into a folder below runs/; if it needs
    flags for its columns, categories or labels, use `safechain-ray import` first.

    No response is generated again. The verdicts go to verdicts/<judge>/ in the run's folder,
    the figures into its metrics.json; with --pieces to pieces/<judge>/ and analysis.json. Rerun the command to resume:
    failed verdicts are requested again. A judge belongs to the run once all its verdicts are there. Exit code 3: a
    judge failed on some verdicts.
    """
    from safechain_ray.commands.judge import add_judges
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.html.write import write_report
    from safechain_ray.report.progress import progress_for

    if remove is not None:
        _remove(run, remove, by_key(flags), assignments, html, as_json)
        return
    if not flags["judge"] and not any(each.startswith("judges") for each in assignments):
        raise InputError("No judge is named. Fix: name one with --judge, or one to remove with --remove.")
    config = read_config_as(JudgingConfig, None, by_key(flags), assignments)
    interruptible()
    if has_known_suffix(run) and not Path(run).is_dir():
        run = _import(run, config)
    if config.pieces is not None:
        _in_pieces(run, config, html, as_json)
        return
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = add_judges(run, config, progress, start_vllm)
    _show(done.metrics, write_report(done.folder.folder) if html else None, as_json)
    sys.exit(ERRORS_IN_SAMPLES if done.failed else DONE)


def _import(file: str, config: JudgingConfig) -> str:
    """The folder of the run that the responses in `file` make. An unknown judge is refused before the import."""
    from safechain_ray.commands.import_responses import import_responses
    from safechain_ray.commands.judge import resolve_judges
    from safechain_ray.report.progress import progress_for

    resolve_judges(config)
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = import_responses(ImportConfig(source=file, resources=config.resources), progress)
        if done.committed:
            progress.report(f"Imported {done.committed:,} responses to {done.folder.folder}.")
    return str(done.folder.folder)


def _show(metrics: RunMetrics, written: str | None, as_json: bool) -> None:
    from safechain_ray.report.tables import render_metrics

    if as_json:
        click.echo(metrics.model_dump_json(indent=2))
        return
    render_metrics(metrics, Console())
    if written:
        print_location("Report", written)


def _remove(
    run: str, name: str, given: dict[str, Any], assignments: tuple[str, ...], html: bool, as_json: bool
) -> None:
    from safechain_ray.commands.judge import remove_judge
    from safechain_ray.report.html.write import write_report
    from safechain_ray.report.progress import progress_for
    from safechain_ray.storage import open_folder

    if given.get("judges") or given.get("parts") or given.get("pieces"):
        raise InputError(
            "--remove JUDGE takes no --judge, --part or --pieces. Fix: leave them out, or use a second command."
        )
    config = read_config_as(JudgingConfig, None, {**given, "judges": [name]}, assignments)
    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        metrics = remove_judge(run, name, config.resources, progress)
    _show(metrics, write_report(open_folder(run)) if html else None, as_json)


def _in_pieces(run: str, config: JudgingConfig, html: bool, as_json: bool) -> None:
    from safechain_ray.commands.fine_grained import analyse
    from safechain_ray.commands.judge import judge_thought_prefixes
    from safechain_ray.engines.vllm import start_vllm
    from safechain_ray.report.fine_grained import fine_grained_document
    from safechain_ray.report.html.write import write_report
    from safechain_ray.report.progress import progress_for
    from safechain_ray.storage import open_folder

    with quiet_libraries() as terminal, progress_for(terminal) as progress:
        done = judge_thought_prefixes(run, config, progress, start_vllm)
    analysis = analyse(run)
    if html:
        write_report(open_folder(run))
    if as_json:
        click.echo(analysis.model_dump_json(indent=2))
    else:
        show(fine_grained_document(analysis), "table")
    sys.exit(ERRORS_IN_SAMPLES if done.failed else DONE)
