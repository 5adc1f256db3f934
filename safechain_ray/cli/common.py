"""What every command of `safechain-ray` has around it: `--json`, errors as sentences, exit codes, a quiet terminal."""

import atexit
import json
import logging
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from safechain_ray.engines.start import captured_output
from safechain_ray.errors import InputError, SafechainError
from safechain_ray.report.escape import printable_lines
from safechain_ray.storage import redact

DONE, FAILED, WRONG_INPUT, ERRORS_IN_SAMPLES = 0, 1, 2, 3

Command = Callable[..., Any]


def output_flags(command: Command) -> Command:
    """`--json` and `--debug`, and errors as sentences with an exit code."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, for machines.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @wraps(command)
    def guarded(*, debug: bool, **arguments: Any) -> None:
        try:
            command(**arguments)
        except SafechainError as error:
            _fail(str(error), error.exit_code, arguments["as_json"], debug=debug)
        except KeyboardInterrupt:
            _fail(f"Interrupted. Completed work is saved. Resume with:\n  {_same_command()}", 130, arguments["as_json"])
        except Exception as error:
            _fail(
                f"Failed: {type(error).__name__}: {_first_lines(error)}\n"
                f"Completed work is saved. Rerun the command to resume. With --debug it shows the traceback.",
                FAILED,
                arguments["as_json"],
                debug=debug,
            )

    return guarded


class ExitCode:
    """Ends the process with its command's code, before native libraries clean up after themselves.

    Ray leaves native threads running (metrics, RPC), and C's `exit()` frees memory that they may still use: a process
    whose work was done sometimes ended with a segmentation fault, which a scheduler takes for a failure. Handlers of
    `atexit` that are registered after this object was made run before; those registered earlier do not run. After an
    error that nothing caught the process ends as always.
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
        except (BrokenPipeError, ValueError):  # nobody reads it any more, or it is closed
            pass
        except OSError as error:
            self._code = self._code or FAILED
            print(f"What was printed could not be written: {error}", file=sys.stderr)
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(self._code)


def profile_flag(command: Command) -> Command:
    """`--profile`, which every command has that reads a config file."""
    return click.option("--profile", metavar="NAME", help="The values under profiles.NAME of the config file.")(command)


def batch_invariant_flag(command: Command) -> Command:
    """`--batch-invariant`, of the commands that generate."""
    return click.option(
        "--batch-invariant/--no-batch-invariant",
        default=None,
        help="GPUs: a text does not depend on the requests beside it; slower (docs/gpu.md).",
    )(command)


def interruptible() -> None:
    """Let SIGTERM (`ray job stop`) end a command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


@contextmanager
def quiet_libraries() -> Iterator[Console]:
    """Keep what Ray and vLLM print off the terminal; gives a console that still reaches it.

    Both print from native threads and child processes too, so file descriptors are pointed at a log file, which is
    named and kept when something fails.
    """
    log_file = Path(tempfile.mkstemp(prefix="safechain-ray-", suffix=".log")[1])
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as stderr:
        console = Console(file=stderr)
        try:
            with captured_output(log_file):
                yield console
        except InputError:
            log_file.unlink()
            raise
        except BaseException:
            console.print(f"What Ray and vLLM printed: {log_file}", highlight=False, markup=False, soft_wrap=True)
            raise
    log_file.unlink()


def by_key(keys: Mapping[str, str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, under the config's keys."""
    return {
        keys[flag]: list(value) if isinstance(value, tuple) else value
        for flag, value in flags.items()
        if is_given(value)
    }


def is_given(value: Any) -> bool:
    return value is not None and value != ()


def only_given(flags: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if is_given(value)}


def _fail(message: str, code: int, as_json: bool, *, debug: bool = False) -> NoReturn:
    """End with `message`; with `debug` the traceback of the current error is printed before it, without secrets."""
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
