"""`safechain-ray export`: a run in the format of another tool."""

import json
from dataclasses import asdict

import click

from safechain_ray.cli.common import interruptible, output_options
from safechain_ray.errors import InputError
from safechain_ray.report.document import printable_lines
from safechain_ray.report.quiet import print_location
from safechain_ray.sharing import SAMPLES_PER_LOG

EXAMPLES = """\b
Examples:
  safechain-ray export runs/demo --format inspect --output logs
  safechain-ray export runs/r1-7b --format inspect --output logs --samples-per-log 2000
  safechain-ray export s3://bucket/runs/r1-7b --format inspect --output s3://bucket/logs
"""

EXTRA = 'pip install "safechain-ray[inspect]"'


@click.command(epilog=EXAMPLES)
@click.argument("run")
@click.option(
    "--format",
    "log_format",
    type=click.Choice(["inspect"]),
    required=True,
    help="inspect: a log (.eval) of Inspect for each setting, for `inspect view` and its data frames.",
)
@click.option("-o", "--output", metavar="FOLDER", required=True, help="Folder or URI for the logs.")
@click.option(
    "--samples-per-log",
    type=click.IntRange(min=1),
    default=SAMPLES_PER_LOG,
    show_default=True,
    help="Most samples of a log. A larger setting is split by prompts.",
)
@output_options
def export(*, run: str, log_format: str, output: str, samples_per_log: int, as_json: bool) -> None:
    """Write a run in the format of another tool.

    RUN is its folder or URI. Each setting becomes a log with its samples, thoughts, verdicts and figures. It needs the
    package inspect-ai, the extra `inspect`.
    """
    from safechain_ray.sharing.run import read_shared_run

    try:
        from safechain_ray.sharing.export import export_inspect
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "inspect_ai":
            raise
        raise InputError(f"--format {log_format} needs the package inspect-ai. Fix: {EXTRA}.") from error

    interruptible()
    shared = read_shared_run(run)
    if shared.missing:
        missing = " ".join(shared.missing)
        click.echo(
            printable_lines(
                f"Warning: The run has not ended: {missing} Its logs have the status "
                "cancelled. Fix: rerun its own command, then export."
            ),
            err=True,
        )
    exported = export_inspect(shared, output, samples_per_log, lambda name: click.echo(f"Writing {name}", err=True))
    for setting_id in exported.split:
        click.echo(
            printable_lines(
                f"Note: {setting_id} has more than {samples_per_log:,} samples and is split into several logs, each "
                "with the figures of its own prompts. Fix: give a larger --samples-per-log for a single log."
            ),
            err=True,
        )
    if as_json:
        click.echo(json.dumps(asdict(exported), indent=2))
    else:
        print_location(f"Logs ({len(exported.logs)})", exported.location)
