"""`safechain-ray status`: how far a run or a sweep is, from its folder alone."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from safechain_ray.cli.common import output_flags
from safechain_ray.commands.status import FolderStatus, read_status
from safechain_ray.errors import StorageError
from safechain_ray.report.escape import printable
from safechain_ray.report.status import status_lines, status_summary, status_table, summary_line

EXAMPLES = """\b
Examples:
  safechain-ray status runs/demo
  safechain-ray status s3://bucket/main_table --watch
  safechain-ray status gs://bucket/runs/r1-7b --json

Exit codes: 0 the folder was read, however the run is; 1 it can't be read; 2 it holds no run and no sweep.
"""

INTERRUPTED = 130

Show = Callable[[FolderStatus, str], None]
"""Shows a look at the folder, and what is the trouble with it."""


@click.command(epilog=EXAMPLES)
@click.argument("folder", metavar="URI")
@click.option("--watch", is_flag=True, help="Read it again and again until nothing is left to come.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds between two looks."
)
@output_flags
def status(*, folder: str, watch: bool, interval: float, as_json: bool) -> None:
    """How far a run or a sweep is, from anywhere: URI is its folder, which is only read. No Ray is joined.

    Of each model: queued, starting (no row yet), running, silent (said to run, but its driver has not written for two
    minutes), stopped, skipped, failed or done; rows, tokens/s and time to go over the last minutes, outcomes, cost,
    last error.
    With --json and --watch each look is one line.
    """
    found = read_status(folder)
    if not watch:
        _print_once(found, as_json)
        return
    console = Console()
    try:
        with _display(console, as_json) as show:
            _watch(found, folder, interval, show)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _print_once(found: FolderStatus, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(status_summary(found), indent=2))
    else:
        Console().print(status_table(found))


def _watch(found: FolderStatus, folder: str, interval: float, show: Show) -> None:
    """Shows each look; a store that does not answer for a while is told, and asked again."""
    show(found, "")
    while not found.is_over:
        time.sleep(interval)
        trouble = ""
        try:
            found = read_status(folder)
        except StorageError as error:
            trouble = f"{error} This is what was read last; it is tried again."
        show(found, trouble)


@contextmanager
def _display(console: Console, as_json: bool) -> Iterator[Show]:
    """JSON lines, a table that is drawn anew on a terminal, or plain lines of what has changed."""
    if as_json:
        yield lambda found, trouble: click.echo(
            json.dumps(status_summary(found) | ({"trouble": trouble} if trouble else {}))
        )
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda found, trouble: live.update(
                Group(status_table(found), Text(printable(trouble), style="yellow")), refresh=True
            )
    else:
        yield _ChangedLines(console).show


class _ChangedLines:
    """Prints what is new since the last look, so that a log of a night can be read."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: set[str] = set()

    def show(self, found: FolderStatus, trouble: str) -> None:
        lines = [summary_line(found), *status_lines(found), *([trouble] if trouble else [])]
        for line in lines:
            if line not in self._last:
                self._console.print(
                    f"{found.read:%H:%M:%S} {printable(line)}", markup=False, highlight=False, soft_wrap=True
                )
        self._last = set(lines)
