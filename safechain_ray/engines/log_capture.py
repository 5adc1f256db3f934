"""Sends what a process and its children print to a file, and reads the file's end back for error messages."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def redirect_output(log_file: Path) -> None:
    """Point this process's stdout and stderr at `log_file` for good; children started later inherit it.

    File descriptors are replaced, not `sys.stdout`, because native code and child processes write to them directly.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


@contextmanager
def captured_output(log_file: Path) -> Iterator[None]:
    """The same for the length of a block."""
    kept = os.dup(1), os.dup(2)
    redirect_output(log_file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)


def last_lines(log_file: Path, count: int = 15) -> str:
    """The last `count` lines of the log, or a word that there is none."""
    if not log_file.exists():
        return "(the engine wrote no log)"
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-count:])
