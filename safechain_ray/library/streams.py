"""Keeps what Ray and vLLM print out of a notebook's page, while they are imported and while a call runs."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, Any

Streams = tuple[IO[str], IO[str]]
"""Standard output and standard error."""


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and getattr(shell, "kernel", None) is not None


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Drop what libraries print when a notebook imports them."""
    if not is_notebook():
        yield
        return
    with open(os.devnull, "w") as nowhere, _redirected((nowhere, nowhere)):
        yield


@contextmanager
def streams_of_descriptors() -> Iterator[None]:
    """Let Python's streams and logs write to the file descriptors, which `quiet_libraries` redirects.

    The streams of a notebook's kernel send text to the page instead.
    """
    with (
        open(1, "w", encoding="utf-8", buffering=1, closefd=False) as stdout,
        open(2, "w", encoding="utf-8", buffering=1, closefd=False) as stderr,
        _redirected((stdout, stderr)),
    ):
        yield


@contextmanager
def _redirected(target: Streams) -> Iterator[None]:
    """Redirect streams, and the log handlers that write to them. Handlers of the block write to the page after it."""
    page = (sys.stdout, sys.stderr)
    with redirect_stdout(target[0]), redirect_stderr(target[1]):
        _move_handlers(page, target)
        try:
            yield
        finally:
            _move_handlers(target, page)


def _move_handlers(old: Streams, new: Streams) -> None:
    """Let the handlers of all loggers that write to the streams `old` write to `new`."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for handler in (each for logger in loggers if isinstance(logger, logging.Logger) for each in logger.handlers):
        stream: Any = getattr(handler, "stream", None)
        if isinstance(handler, logging.StreamHandler) and stream in old:
            handler.setStream(new[1] if stream is old[1] else new[0])
