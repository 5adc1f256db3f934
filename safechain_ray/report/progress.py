"""Progress for a person: a live display on a terminal, plain lines elsewhere (`ray job logs`, a file).

What every display of progress does: lines with the time of day, or a part of the terminal that is redrawn.

A training's progress for a person: a live display on a terminal, plain lines elsewhere (`ray job logs`, a file).
"""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.training.events import TRAINING
from safechain_ray.commands.finetune.finetune import TrainingSnapshot
from safechain_ray.report.escape import printable
from safechain_ray.report.labels import clock
from safechain_ray.runs.pools import MODEL_POOL
from safechain_ray.runs.progress import PoolRate, Snapshot

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

    def report(self, sentence: str) -> None:
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

    def report(self, sentence: str) -> None:
        self._live.console.print(printable(sentence), markup=False, highlight=False)


FORGOTTEN_SECONDS = 15.0

"""A run that tells nothing for so long has ended: others may go on beside it."""

DECISION_WORDS = {
    "unsafe": "unsafe verdicts",
    "win": "wins",
    "tie": "ties",
    "lose": "losses",
    "correct": "correct",
    "wrong": "wrong",
}

OUTCOME_WORDS = {
    "truncated": "truncated",
    "blocked": "blocked",
    "error": "errors",
    "missing": "missing verdicts",
    "ungraded": "without a grade",
}

POOL_WORDS = {
    "concurrency": "requests at once at most",
    "retries": "retries",
    "estimated_bills": "bills estimated",
    "engine_restarts": "engine restarts",
    "judge_errors": "judge errors",
}

COUNT_STYLES = {"ok": "green", "error": "red", "unsafe": "magenta"}


def sentence(snapshot: Snapshot) -> str:
    """One line for logs: rows, outcomes, verdicts, throughput, time to go, and the state of each pool."""
    done = snapshot.done
    share = done / snapshot.total
    counts = ", ".join(
        f"{snapshot.committed.get(name, 0):,} {words}"
        for name, words in _count_words(snapshot).items()
        if snapshot.committed.get(name, 0) or name in snapshot.decisions
    )
    pools = "; ".join(f"{name}: {pool_state(snapshot.pools.get(name))}" for name in snapshot.stage.pools)
    return (
        f"{_whose(snapshot)}{done:,}/{snapshot.total:,} rows ({share:.0%}), {counts}, {speed(snapshot)}."
        f"{f' {pools}.' if pools else ''}"
    )


def _whose(snapshot: Snapshot) -> str:
    """The run's name among several, and the stage where there are more."""
    stage = f"stage {snapshot.stage.number} of {snapshot.stage.stages}" if snapshot.stage.stages > 1 else ""
    words = ", ".join(filter(None, (snapshot.run, stage)))
    return f"{words}: " if words else ""


def _count_words(snapshot: Snapshot) -> dict[str, str]:
    """The counts to show, in order: missing verdicts only of judged rows, missing grades only of graded ones."""
    foreign = "missing" if "correct" in snapshot.decisions else "ungraded"
    outcomes = {name: words for name, words in OUTCOME_WORDS.items() if name != foreign}
    return {name: DECISION_WORDS[name] for name in snapshot.decisions} | outcomes


def speed(snapshot: Snapshot) -> str:
    """Tokens per second of the stage's first pool over the last minute, time spent, and time to go."""
    pools = snapshot.stage.pools
    first = snapshot.rates.get(pools[0], PoolRate()) if pools else PoolRate()
    rate = f"{first.tokens_per_second:,.0f} tokens/s, " if first.tokens_per_second else ""
    left = snapshot.seconds_left
    eta = "" if left is None else f", {clock(left)} to go"
    return f"{rate}{clock(snapshot.seconds)} so far{eta}"


def pool_state(pool: PoolProgress | None) -> str:
    """What a pool does, in a few words."""
    if pool is None or not (pool.ready or pool.counts["rows_in"]):
        return "loading"
    words = [
        f"{pool.counts['rows_in'] - pool.counts['rows_out']:,} rows in flight",
        f"{pool.counts['rows_out']:,} done",
    ]
    for count, name in POOL_WORDS.items():
        if pool.counts[count]:
            words.append(f"{pool.counts[count]:,} {name}")
    if pool.counts["cost_microdollars"]:
        words.append(f"${pool.counts['cost_microdollars'] / 1e6:,.2f}")
    return ", ".join(words)


class PlainProgress(PlainDisplay):
    """An observer that prints lines: of each run one every `PLAIN_SECONDS`, later fewer, and a last one at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._due: dict[str, float] = {}
        self._complete: set[str] = set()
        self._untold: dict[str, tuple[float, Snapshot]] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for snapshot in _still_heard(self._untold):
            self.report(sentence(snapshot))

    def update(self, snapshot: Snapshot) -> None:
        now, run = time.monotonic(), snapshot.run
        if snapshot.is_complete and run in self._complete:
            return
        if now < self._due.get(run, 0.0) and not snapshot.is_complete:
            self._untold[run] = (now, snapshot)
            return
        (self._complete.add if snapshot.is_complete else self._complete.discard)(run)
        self._untold.pop(run, None)
        self.report(sentence(snapshot))
        self._due[run] = now + seconds_to_next_line(snapshot.seconds)


class LiveProgress(LiveDisplay):
    """An observer that redraws a bar for each pool and the outcomes so far, for each active run."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._seen: dict[str, tuple[float, Snapshot]] = {}

    def update(self, snapshot: Snapshot) -> None:
        self._seen[snapshot.run] = (time.monotonic(), snapshot)
        self._live.update(Group(*(_drawn(each) for each in _still_heard(self._seen))))


def _still_heard(seen: Mapping[str, tuple[float, Snapshot]]) -> Iterator[Snapshot]:
    """The last snapshots of the runs that have not fallen silent."""
    for heard, snapshot in seen.values():
        if time.monotonic() - heard < FORGOTTEN_SECONDS:
            yield snapshot


def _drawn(snapshot: Snapshot) -> Group:
    """A line of the run, a bar for each pool, and the counts of finished rows."""
    outcomes = Text("  ")
    for name, words in {"ok": "ok", **_count_words(snapshot)}.items():
        count = snapshot.committed.get(name, 0)
        outcomes.append(f"{count:,} {words}  ", COUNT_STYLES.get(name, "yellow") if count else "dim")
    head = Text(printable(f"{_whose(snapshot)}{snapshot.done:,}/{snapshot.total:,} rows, "))
    head.append(speed(snapshot), style="dim")
    bars = Table.grid(padding=(0, 2))
    for label, rows, state in _bars(snapshot):
        bar = ProgressBar(total=snapshot.total, completed=rows, width=24)
        share = Text(f"{rows / snapshot.total:.0%}", justify="right")
        bars.add_row(Text(f"  {label}", style="bold"), bar, share, Text(printable(state)))
    return Group(head, bars, outcomes)


def _bars(snapshot: Snapshot) -> Iterator[tuple[str, int, str]]:
    """Label, finished rows and state of each pool. Without a pool that judges, the last bar has the committed rows."""
    for name in snapshot.stage.pools:
        label = "generated" if name == MODEL_POOL else "judged"
        yield label, snapshot.rows_of(name), f"{name}: {pool_state(snapshot.pools.get(name))}"
    if snapshot.stage.pools in ((), (MODEL_POOL,)):
        yield "finished", snapshot.done, ""


def progress_for(console: Console) -> PlainProgress | LiveProgress:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


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
        self.report(training_sentence(snapshot))


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
