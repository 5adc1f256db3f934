"""What every command shares: `--catalog`, `--json` and `--debug`, errors as messages, exit codes, a quiet terminal."""

import atexit
import json
import logging
import os
import shlex
import signal
import sys
import traceback
from contextlib import suppress
from functools import wraps
from typing import Any, NoReturn

import click
from rich.console import Console

from safechain_ray import catalog
from safechain_ray.cli.options import Command, catalog_option
from safechain_ray.decoding.base import replaced_strategies
from safechain_ray.errors import SafechainError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.document import printable_lines
from safechain_ray.report.quiet import print_location
from safechain_ray.storage import Folder, redact

DONE, FAILED, WRONG_INPUT, ERRORS_IN_SAMPLES, INTERRUPTED = 0, 1, 2, 3, 130


def output_options(command: Command) -> Command:
    """Adds `--catalog`, `--json` and `--debug`, and turns errors into messages and exit codes."""

    @catalog_option
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, for machines.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @wraps(command)
    def guarded(*, debug: bool, **arguments: Any) -> None:
        try:
            for sentence in (*catalog.reports(), *replaced_strategies()):
                click.echo(printable_lines(f"Note: {redact(sentence)}"), err=True)
            command(**arguments)
        except SafechainError as error:
            _fail(str(error), error.exit_code, arguments["as_json"], debug=debug)
        except KeyboardInterrupt:
            _fail(
                f"Interrupted. Completed work is saved. To resume, run:\n  {_same_command()}",
                INTERRUPTED,
                arguments["as_json"],
            )
        except Exception as error:
            _fail(
                f"Failed: {type(error).__name__}: {_first_lines(error)}\n"
                "Completed work is saved. Fix: rerun the command to resume, with --debug for the traceback.",
                FAILED,
                arguments["as_json"],
                debug=debug,
            )

    return guarded


class ExitCode:
    """Ends the process with its command's exit code, before native libraries run their destructors.

    Ray leaves native threads running (metrics, RPC), and C's `exit()` frees memory that these threads may still use.
    A completed command sometimes ended with a segmentation fault, which a scheduler counts as a failure.

    `atexit` handlers that are registered later still run. Handlers that were registered earlier do not run. After an
    uncaught error the process ends in the usual way.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._report_error = sys.excepthook
        sys.excepthook = self._forget
        atexit.register(self._end)

    def keep(self, code: int | str | None) -> None:
        """Keep the code of a SystemExit: None is 0, a text 1."""
        self._code = code if isinstance(code, int) else int(code is not None)

    def _forget(self, *error: Any) -> None:
        self._code = None
        self._report_error(*error)

    def _end(self) -> None:
        if self._code is None:
            return
        logging.shutdown()
        try:
            sys.stdout.flush()
        except (BrokenPipeError, ValueError):  # the reader has gone, or stdout is closed
            pass
        except OSError as error:
            self._code = self._code or FAILED
            print(
                f"Standard output can't be written: {error}. Fix: check the file or pipe that it goes to.",
                file=sys.stderr,
            )
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(self._code)


def interruptible() -> None:
    """Handle SIGTERM (`ray job stop`) as Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)


def show_run(metrics: RunMetrics, folder: Folder, report: str | None, as_json: bool) -> None:
    """Print the figures of a run, and where its results and its page are."""
    from safechain_ray.report.tables import NOT_JUDGED, is_judged, render_metrics

    if as_json:
        click.echo(metrics.model_dump_json(indent=2))
        return
    render_metrics(metrics, Console())
    print_location("Results", folder)
    if report:
        print_location("Report", report)
    if not is_judged(metrics):
        click.echo(NOT_JUDGED.format(folder=shlex.quote(redact(str(folder)))))


def _fail(message: str, code: int, as_json: bool, *, debug: bool = False) -> NoReturn:
    """Exit with the message; with `debug`, print the current error's traceback first. Secrets are redacted."""
    message = redact(message)
    if as_json:
        click.echo(json.dumps({"error": message, "exit_code": code}))
    if debug:
        click.echo(printable_lines("\n".join(map(redact, traceback.format_exc().splitlines()))), err=True)
    click.echo(printable_lines(message), err=True)
    sys.exit(code)


def _first_lines(error: Exception, count: int = 5) -> str:
    return "\n".join(str(error).splitlines()[:count])


def _same_command() -> str:
    return redact(shlex.join(["safechain-ray", *sys.argv[1:]]))


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
