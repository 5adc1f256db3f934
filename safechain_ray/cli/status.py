"""`safechain-ray status`: the progress of a run or a sweep, read from its folder."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from safechain_ray.cli.common import INTERRUPTED, output_options
from safechain_ray.commands.status import FolderStatus, read_status
from safechain_ray.errors import StorageError
from safechain_ray.report.document import printable
from safechain_ray.report.status import status_lines, status_summary, status_table, summary_line

EXAMPLES = """\b
Examples:
  safechain-ray status runs/demo
  safechain-ray status s3://bucket/main_table --watch
  safechain-ray status gs://bucket/runs/r1-7b --json

Exit codes: 0 the folder was read; 1 it can't be read; 2 it holds no run and no sweep.
"""

Show = Callable[[FolderStatus, str], None]
"""Shows the status of the folder, and the error of the last read; empty for none."""


@click.command(epilog=EXAMPLES)
@click.argument("folder", metavar="URI")
@click.option("--watch", is_flag=True, help="Read it repeatedly until all runs have ended.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds between two reads."
)
@output_options
def status(*, folder: str, watch: bool, interval: float, as_json: bool) -> None:
    """Show the progress of a run or a sweep, from anywhere. URI is its folder, which is only read. No Ray is joined.

    For each model: queued, starting (no row yet), running, silent (its driver has not written for two minutes),
    stopped, skipped, failed or done; rows, tokens/s and remaining time over the last minutes, outcomes, cost, last
    error.
    With --json and --watch each read is one line.
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
    """Shows the status after each read. A failed read is reported and retried."""
    show(found, "")
    while not found.is_over:
        time.sleep(interval)
        store_error = ""
        try:
            found = read_status(folder)
        except StorageError as error:
            reason, _, _ = str(error).partition(" Fix: ")
            store_error = f"{reason} The status of the last read is shown; the read is retried."
        show(found, store_error)


@contextmanager
def _display(console: Console, as_json: bool) -> Iterator[Show]:
    """JSON lines, a table that is redrawn on a terminal, or plain lines for each change."""
    if as_json:
        yield lambda found, store_error: click.echo(
            json.dumps(status_summary(found) | ({"trouble": store_error} if store_error else {}))
        )
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda found, store_error: live.update(
                Group(status_table(found), Text(printable(store_error), style="yellow")), refresh=True
            )
    else:
        yield _ChangedLines(console).show


class _ChangedLines:
    """Prints lines that changed since the last read, so that a log of many hours stays short."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: set[str] = set()

    def show(self, found: FolderStatus, store_error: str) -> None:
        lines = [summary_line(found), *status_lines(found), *([store_error] if store_error else [])]
        for line in lines:
            if line not in self._last:
                self._console.print(
                    f"{found.read:%H:%M:%S} {printable(line)}", markup=False, highlight=False, soft_wrap=True
                )
        self._last = set(lines)
