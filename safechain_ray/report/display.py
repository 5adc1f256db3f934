"""What every display of progress does: lines with the time of day, or a part of the terminal that is redrawn."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from safechain_ray.report.escape import printable

PLAIN_SECONDS = 10.0
LATER_PLAIN_SECONDS = 60.0
SOON = 300.0
"""A log is followed closely in its first minutes; after so many seconds of a stage a line a minute is enough."""


def seconds_to_next_line(seconds: float) -> float:
    """How long a log rests after the line of a stage that has lasted so many seconds."""
    return PLAIN_SECONDS if seconds < SOON else LATER_PLAIN_SECONDS


class PlainDisplay:
    """Prints lines (`ray job logs`, a file)."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, sentence: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {printable(sentence)}", markup=False, highlight=False, soft_wrap=True
        )


class LiveDisplay:
    """Redraws the end of a terminal; sentences go above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, sentence: str) -> None:
        self._live.console.print(printable(sentence), markup=False, highlight=False)
