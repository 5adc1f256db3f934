"""Keeps what Ray and vLLM print off the terminal, in a log file that is kept after a failure."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from safechain_ray.engines.start import captured_output
from safechain_ray.errors import InputError
from safechain_ray.report.document import printable_lines


@contextmanager
def quiet_libraries() -> Iterator[Console]:
    """Redirects the output of Ray and vLLM to a log file; yields a console on the terminal.

    Ray and vLLM also print from native threads and child processes, so the file descriptors are redirected. The log
    file is kept and named after a failure, and removed otherwise.
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
            print_location("What Ray and vLLM printed", log_file, console)
            raise
    log_file.unlink()


def print_location(label: str, location: object, console: Console | None = None) -> None:
    """Print `LABEL: LOCATION` on one line that is not wrapped."""
    text = printable_lines(f"{label}: {location}")
    (console or Console()).print(text, highlight=False, markup=False, soft_wrap=True)
