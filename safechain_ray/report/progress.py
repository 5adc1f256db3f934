"""Progress for a person: a live display on a terminal, plain lines elsewhere (`ray job logs`, a file)."""

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from safechain_ray.cluster.tally import PoolProgress
from safechain_ray.pipelines.observer import Snapshot
from safechain_ray.report.escape import printable

PLAIN_SECONDS = 10.0

DECISION_WORDS = {"unsafe": "unsafe verdicts", "win": "wins", "tie": "ties", "lose": "losses"}
OUTCOME_WORDS = {
    "truncated": "truncated",
    "blocked": "blocked",
    "error": "errors",
    "missing": "missing verdicts",
}
POOL_WORDS = {
    "concurrency": "requests at once at most",
    "retries": "retries",
    "engine_restarts": "engine restarts",
    "judge_errors": "judge errors",
}
COUNT_STYLES = {"ok": "green", "error": "red", "unsafe": "magenta"}


def sentence(snapshot: Snapshot) -> str:
    """One line that says all: rows, outcomes, verdicts, speed, time to go, and what each pool does."""
    done = snapshot.done_before + snapshot.committed.get("rows", 0)
    share = done / snapshot.total
    counts = ", ".join(
        f"{snapshot.committed.get(name, 0):,} {words}"
        for name, words in _count_words(snapshot).items()
        if snapshot.committed.get(name, 0) or name in snapshot.decisions
    )
    pools = "; ".join(f"{name}: {pool_state(snapshot.pools.get(name))}" for name in snapshot.stage)
    whose = f"{snapshot.run}: " if snapshot.run else ""
    rows = f"{done:,}/{snapshot.total:,} rows ({share:.0%})"
    return f"{whose}{rows}, {counts}, {speed(snapshot)}.{f' {pools}.' if pools else ''}"


def _count_words(snapshot: Snapshot) -> dict[str, str]:
    return {name: DECISION_WORDS[name] for name in snapshot.decisions} | OUTCOME_WORDS


def speed(snapshot: Snapshot) -> str:
    """Tokens a second of the stage's first pool, which is the model's where it generates; time spent and to go.

    A stage of rules alone has no pool, and so no tokens.
    """
    rows = snapshot.committed.get("rows", 0)
    tokens = snapshot.pools.get(snapshot.stage[0], PoolProgress()).counts["tokens"] if snapshot.stage else 0
    if not tokens and not rows:
        return f"{_clock(snapshot.seconds)} so far"
    left = snapshot.total - snapshot.done_before - rows
    eta = f", {_clock(left * snapshot.seconds / rows)} to go" if rows else ""
    rate = f"{tokens / snapshot.seconds:,.0f} tokens/s, " if snapshot.stage else ""
    return f"{rate}{_clock(snapshot.seconds)} so far{eta}"


def pool_state(pool: PoolProgress | None) -> str:
    """What a pool does, in a few words."""
    if pool is None or not (pool.ready or pool.counts["rows_in"]):
        return "starting"
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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class PlainProgress:
    """An observer that prints lines: of each run at most one every `PLAIN_SECONDS`, and one at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next: dict[str, float] = {}
        self._last: dict[str, Snapshot] = {}

    def __enter__(self) -> "PlainProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for snapshot in self._last.values():
            self._print(sentence(snapshot))

    def say(self, sentence: str) -> None:
        self._print(sentence)

    def update(self, snapshot: Snapshot) -> None:
        self._last[snapshot.run] = snapshot
        if time.monotonic() >= self._next.get(snapshot.run, 0.0):
            self._print(sentence(snapshot))
            self._next[snapshot.run] = time.monotonic() + PLAIN_SECONDS

    def _print(self, line: str) -> None:
        self._console.print(
            f"{time.strftime('%H:%M:%S')} {printable(line)}", markup=False, highlight=False, soft_wrap=True
        )


class LiveProgress:
    """An observer that redraws a bar, the outcomes so far and a line for each pool, of every run at work."""

    def __init__(self, console: Console) -> None:
        self._runs: dict[str, Snapshot] = {}
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, sentence: str) -> None:
        self._live.console.print(printable(sentence), markup=False, highlight=False)

    def update(self, snapshot: Snapshot) -> None:
        self._runs[snapshot.run] = snapshot
        finished = [run for run, seen in self._runs.items() if run != snapshot.run and _is_complete(seen)]
        for run in finished:
            del self._runs[run]
        self._live.update(Group(*map(_drawn, self._runs.values())))


def _is_complete(snapshot: Snapshot) -> bool:
    return snapshot.done_before + snapshot.committed.get("rows", 0) >= snapshot.total


def _drawn(snapshot: Snapshot) -> Group:
    done = snapshot.done_before + snapshot.committed.get("rows", 0)
    outcomes = Text("  ")
    for name, words in {"ok": "ok", **_count_words(snapshot)}.items():
        count = snapshot.committed.get(name, 0)
        outcomes.append(f"{count:,} {words}  ", COUNT_STYLES.get(name, "yellow") if count else "dim")
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(f"{done:,}/{snapshot.total:,} rows"),
        ProgressBar(total=snapshot.total, completed=done, width=30),
        Text(speed(snapshot), style="dim"),
    )
    pools = Table.grid(padding=(0, 2))
    for name in snapshot.stage:
        pools.add_row(Text(f"  {name}", style="bold"), Text(pool_state(snapshot.pools.get(name))))
    whose = [Text(snapshot.run, style="bold")] if snapshot.run else []
    return Group(*whose, head, outcomes, pools)


def progress_for(console: Console) -> PlainProgress | LiveProgress:
    """The live display on a terminal, plain lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
