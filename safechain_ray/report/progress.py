"""Progress displays of runs and trainings: live on a terminal, plain lines elsewhere (`ray job logs`, a file)."""

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
from safechain_ray.report.document import printable
from safechain_ray.report.labels import clock
from safechain_ray.runs.pools import MODEL_POOL
from safechain_ray.runs.progress import PoolRate, Snapshot

LINE_INTERVAL = 10.0
SLOW_LINE_INTERVAL = 60.0
FIRST_MINUTES = 300.0
"""Readers follow a log closely in its first minutes; after so many seconds of a stage a line a minute is enough."""

STALE_SECONDS = 15.0
"""A run without a snapshot for so long has ended; other runs may continue beside it."""

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
    "concurrency": "concurrent requests at most",
    "retries": "retries",
    "estimated_bills": "bills estimated",
    "engine_restarts": "engine restarts",
    "judge_errors": "judge errors",
}

COUNT_STYLES = {"ok": "green", "error": "red", "unsafe": "magenta"}

FIGURES = {"loss": ("loss", "{:.4f}"), "eval_loss": ("evaluation loss", "{:.4f}"), "grad_norm": ("gradient", "{:.3g}")}
"""The logged figures that are shown: name in the log, displayed name, format."""


class PlainDisplay:
    """Prints lines with the time of day (`ray job logs`, a file)."""

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
    """Redraws the end of a terminal; sentences are printed above it."""

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


class PlainProgress(PlainDisplay):
    """Prints lines: one for each run every `LINE_INTERVAL`, later fewer, and a last one at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._due: dict[str, float] = {}
        self._complete: set[str] = set()
        self._pending: dict[str, tuple[float, Snapshot]] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for snapshot in _active(self._pending):
            self.report(sentence(snapshot))

    def update(self, snapshot: Snapshot) -> None:
        now, run = time.monotonic(), snapshot.run
        if snapshot.is_complete and run in self._complete:
            return
        if now < self._due.get(run, 0.0) and not snapshot.is_complete:
            self._pending[run] = (now, snapshot)
            return
        (self._complete.add if snapshot.is_complete else self._complete.discard)(run)
        self._pending.pop(run, None)
        self.report(sentence(snapshot))
        self._due[run] = now + _line_interval(snapshot.seconds)


class LiveProgress(LiveDisplay):
    """Redraws a bar for each pool and the outcomes so far, for each active run."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._seen: dict[str, tuple[float, Snapshot]] = {}

    def update(self, snapshot: Snapshot) -> None:
        self._seen[snapshot.run] = (time.monotonic(), snapshot)
        self._live.update(Group(*(drawn(each) for each in _active(self._seen))))


class PlainTraining(PlainDisplay):
    """Prints a line when the workers begin another phase than training, and at intervals between."""

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
        self._due = now + _line_interval(snapshot.seconds)
        self.report(training_sentence(snapshot))


class LiveTraining(LiveDisplay):
    """Redraws a bar of the steps, the losses and the phase of the workers."""

    def update(self, snapshot: TrainingSnapshot) -> None:
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(f"step {snapshot.step:,}/{snapshot.steps:,}" if snapshot.steps else "step –"),
            ProgressBar(total=snapshot.steps or None, completed=snapshot.step, width=30),
            Text(", ".join(_training_speed(snapshot)), style="dim"),
        )
        figures = Text("  " + "  ".join(_training_figures(snapshot)), style="green")
        self._live.update(Group(head, figures, Text(printable(f"  {snapshot.phase}"))))


def progress_for(console: Console) -> PlainProgress | LiveProgress:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def training_progress_for(console: Console) -> PlainTraining | LiveTraining:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveTraining(console) if console.is_terminal else PlainTraining(console)


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
        f"{_run_label(snapshot)}{done:,}/{snapshot.total:,} rows ({share:.0%}), {f'{counts}, ' if counts else ''}"
        f"{speed(snapshot)}."
        f"{f' {pools}.' if pools else ''}"
    )


def speed(snapshot: Snapshot) -> str:
    """Tokens per second of the stage's first pool over the last minute, time spent, and time to go.

    The estimate covers the pools. While rows that left the pools wait to be committed, it would be 0:00.
    """
    pools = snapshot.stage.pools
    first = snapshot.rates.get(pools[0], PoolRate()) if pools else PoolRate()
    rate = f"{first.tokens_per_second:,.0f} tokens/s, " if first.tokens_per_second else ""
    left = snapshot.seconds_left
    waits = left is not None and left < 1 and not snapshot.is_complete
    eta = "" if left is None or waits else f", {clock(left)} to go"
    return f"{rate}{clock(snapshot.seconds)} so far{eta}"


def pool_state(pool: PoolProgress | None) -> str:
    """The state of a pool in a few words."""
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


def training_sentence(snapshot: TrainingSnapshot) -> str:
    """One line for logs: steps, losses, speed, time to go, and the phase of the workers."""
    share = f" ({snapshot.step / snapshot.steps:.0%})" if snapshot.steps else ""
    words = [f"step {snapshot.step:,} of {snapshot.steps:,}{share}"] if snapshot.steps else []
    words += [*_training_figures(snapshot), *_training_speed(snapshot)]
    return f"{snapshot.phase}: {', '.join(words)}."


def _line_interval(seconds: float) -> float:
    """Seconds between two lines of a stage that has lasted `seconds`."""
    return LINE_INTERVAL if seconds < FIRST_MINUTES else SLOW_LINE_INTERVAL


def _run_label(snapshot: Snapshot) -> str:
    """The run's name among several, and the stage where there are more."""
    stage = f"stage {snapshot.stage.number} of {snapshot.stage.stages}" if snapshot.stage.stages > 1 else ""
    words = ", ".join(filter(None, (snapshot.run, stage)))
    return f"{words}: " if words else ""


def _count_words(snapshot: Snapshot) -> dict[str, str]:
    """The counts to show, in order: missing verdicts only of judged rows, missing grades only of graded ones."""
    other = "missing" if "correct" in snapshot.decisions else "ungraded"
    outcomes = {name: words for name, words in OUTCOME_WORDS.items() if name != other}
    return {name: DECISION_WORDS[name] for name in snapshot.decisions} | outcomes


def _active(seen: Mapping[str, tuple[float, Snapshot]]) -> Iterator[Snapshot]:
    """The last snapshots of the runs that still report."""
    for received, snapshot in seen.values():
        if time.monotonic() - received < STALE_SECONDS:
            yield snapshot


def drawn(snapshot: Snapshot) -> Group:
    """A line of the run, a bar for each pool, and the counts of finished rows."""
    outcomes = Text("  ")
    for name, words in {"ok": "ok", **_count_words(snapshot)}.items():
        count = snapshot.committed.get(name, 0)
        outcomes.append(f"{count:,} {words}  ", COUNT_STYLES.get(name, "yellow") if count else "dim")
    head = Text(printable(f"{_run_label(snapshot)}{snapshot.done:,}/{snapshot.total:,} rows, "))
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


def _training_figures(snapshot: TrainingSnapshot) -> list[str]:
    return [
        f"{name} {shape.format(snapshot.logged[key])}"
        for key, (name, shape) in FIGURES.items()
        if key in snapshot.logged
    ]


def _training_speed(snapshot: TrainingSnapshot) -> list[str]:
    words = [f"{snapshot.tokens_per_second:,.0f} tokens/s"] if snapshot.tokens_per_second else []
    words.append(f"{clock(snapshot.seconds)} so far")
    if snapshot.seconds_left is not None:
        words.append(f"{clock(snapshot.seconds_left)} to go")
    return words
