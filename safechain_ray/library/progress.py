"""Progress of a call: a display that a notebook redraws, the live display of a terminal, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from threading import Lock
from typing import Any

from rich.console import Console

from safechain_ray.errors import InputError
from safechain_ray.library.streams import is_notebook, streams_of_descriptors
from safechain_ray.report.progress import drawn, progress_for
from safechain_ray.report.quiet import quiet_libraries
from safechain_ray.runs.progress import RecordingReporter, RunReporter, Snapshot

_calls = Lock()

SENTENCES = 5
"""Latest sentences that a notebook shows above the bars."""


@contextmanager
def shown_progress(is_shown: bool) -> Iterator[RunReporter]:
    """A reporter for a call, during which Ray and vLLM print to a log file.

    Raises InputError during another call: both would redirect the output of this process.
    """
    if not _calls.acquire(blocking=False):
        raise InputError(
            "Another call runs in this process. Fix: wait for its end, or use `sweep` or another process for several "
            "models at once."
        )
    try:
        with _reporter(is_shown) as reporter:
            yield reporter
    finally:
        _calls.release()


@contextmanager
def _reporter(is_shown: bool) -> Iterator[RunReporter]:
    if not is_shown:
        with quiet_libraries():
            yield RecordingReporter()
    elif is_notebook():
        display = NotebookProgress()
        with quiet_libraries(), streams_of_descriptors():
            yield display
    else:
        with quiet_libraries() as terminal, progress_for(terminal) as reporter:
            yield reporter


class NotebookProgress:
    """Redraws one output of a cell. It needs no widgets: the output is HTML that is replaced."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._bars = ""
        self._output: Any = None

    def report(self, sentence: str) -> None:
        self._sentences = [*self._sentences, sentence][-SENTENCES:]
        self._draw()

    def update(self, snapshot: Snapshot) -> None:
        console = Console(width=100, force_terminal=False, color_system=None)
        with console.capture() as captured:
            console.print(drawn(snapshot))
        self._bars = captured.get()
        self._draw()

    def _draw(self) -> None:
        from IPython.display import HTML, display

        text = "\n".join([*self._sentences, self._bars])
        html = HTML(f"<pre>{escape(text)}</pre>")
        if self._output is None:
            self._output = display(html, display_id=True)
        else:
            self._output.update(html)
