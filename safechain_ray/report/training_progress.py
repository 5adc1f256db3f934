"""A training's progress for a person: a live display on a terminal, plain lines elsewhere (`ray job logs`, a file)."""

import time

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from safechain_ray.cluster.training.events import TRAINING
from safechain_ray.commands.finetune.observer import TrainingSnapshot
from safechain_ray.report.display import LiveDisplay, PlainDisplay, seconds_to_next_line
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import clock

FIGURES = {"loss": ("loss", "{:.4f}"), "eval_loss": ("evaluation loss", "{:.4f}"), "grad_norm": ("gradient", "{:.3g}")}
"""What is shown of that which is logged: its name there, its name here, its format."""


def training_sentence(snapshot: TrainingSnapshot) -> str:
    """One line that says all: steps, losses, speed, time to go, what the workers do."""
    share = f" ({snapshot.step / snapshot.steps:.0%})" if snapshot.steps else ""
    words = [f"step {snapshot.step:,} of {snapshot.steps:,}{share}"] if snapshot.steps else []
    words += [*_figures(snapshot), *_speed(snapshot)]
    return f"{snapshot.phase}: {', '.join(words)}."


def _figures(snapshot: TrainingSnapshot) -> list[str]:
    return [
        f"{name} {shape.format(snapshot.logged[key])}"
        for key, (name, shape) in FIGURES.items()
        if key in snapshot.logged
    ]


def _speed(snapshot: TrainingSnapshot) -> list[str]:
    words = [f"{snapshot.tokens_per_second:,.0f} tokens/s"] if snapshot.tokens_per_second else []
    words.append(f"{clock(snapshot.seconds)} so far")
    if snapshot.seconds_left is not None:
        words.append(f"{clock(snapshot.seconds_left)} to go")
    return words


class PlainTraining(PlainDisplay):
    """Prints a line when the workers begin something else than steps, and every so often between."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._due = 0.0
        self._phase = ""

    def update(self, snapshot: TrainingSnapshot) -> None:
        now = time.monotonic()
        is_known = snapshot.phase in (self._phase, TRAINING)
        self._phase = snapshot.phase
        if now < self._due and is_known:
            return
        self._due = now + seconds_to_next_line(snapshot.seconds)
        self.say(training_sentence(snapshot))


class LiveTraining(LiveDisplay):
    """Redraws a bar of the steps, the figures and what the workers do."""

    def update(self, snapshot: TrainingSnapshot) -> None:
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"step {snapshot.step:,}/{snapshot.steps:,}" if snapshot.steps else "step –"),
            ProgressBar(total=snapshot.steps or None, completed=snapshot.step, width=30),
            Text(", ".join(_speed(snapshot)), style="dim"),
        )
        figures = Text("  " + "  ".join(_figures(snapshot)), style="green")
        self._live.update(Group(head, figures, Text(printable(f"  {snapshot.phase}"))))


def training_progress_for(console: Console) -> PlainTraining | LiveTraining:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveTraining(console) if console.is_terminal else PlainTraining(console)
