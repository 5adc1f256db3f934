"""Progress of a running stage: throughput of its pools, snapshots for a person, and the record for run.json."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from safechain_ray.cluster.progress import PoolProgress, Stage
from safechain_ray.runs.run_file import ProgressRecord

TOKEN_SECONDS = 60.0

ROW_SECONDS = 600.0
"""Rows are committed in blocks, which may be minutes apart."""

NOTE_SECONDS = 1.0


class Throughput:
    """Sliding window over counts, sampled once a second at most and `row_seconds` long. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float], row_seconds: float = ROW_SECONDS) -> None:
        self._clock = clock
        self._row_seconds = row_seconds
        self._seen: deque[tuple[float, int, int]] = deque()

    def note(self, rows: int, tokens: int) -> None:
        """Note the sums of rows and tokens so far."""
        now = self._clock()
        if self._seen and now - self._seen[-1][0] < NOTE_SECONDS:
            return
        self._seen.append((now, rows, tokens))
        while now - self._seen[0][0] > self._row_seconds:
            self._seen.popleft()

    @property
    def rows_per_second(self) -> float | None:
        """Over the last `row_seconds`; None before there are two notes."""
        return self._rate(1, self._row_seconds)

    @property
    def tokens_per_second(self) -> float | None:
        """Over the last minute; None before there are two notes."""
        return self._rate(2, TOKEN_SECONDS)

    def _rate(self, count: int, seconds: float) -> float | None:
        if len(self._seen) < 2:
            return None
        last = self._seen[-1]
        first = next(seen for seen in self._seen if last[0] - seen[0] <= seconds)
        if first is last:
            return None
        return round((last[count] - first[count]) / (last[0] - first[0]), 4)


@dataclass(frozen=True, slots=True)
class PoolRate:
    """Throughput of one pool over the last minute; None before it can be known."""

    rows_per_second: float | None = None
    tokens_per_second: float | None = None


class PoolRates:
    """The rate of each pool since it first had a ready replica, so that loading does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._throughputs: dict[str, Throughput] = {}

    def note(self, pools: Mapping[str, PoolProgress]) -> dict[str, PoolRate]:
        """Note the latest counts. Returns the rate of each pool that has started."""
        for name, pool in pools.items():
            if name in self._throughputs or pool.ready:
                throughput = self._throughputs.setdefault(name, Throughput(self._clock, TOKEN_SECONDS))
                throughput.note(pool.counts["rows_out"], pool.counts["tokens"])
        return {
            name: PoolRate(throughput.rows_per_second, throughput.tokens_per_second)
            for name, throughput in self._throughputs.items()
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Progress of a run at one moment of a stage.

    `committed` holds the counts (`cluster.commit.COMMITTED`) of the rows since the stage started, `seconds` ago, with
    loading of engines included. `rates` are the throughputs of the pools that have started. `decisions` are the counts
    that show what the judges decide. `run` is the run's name where several runs are reported.
    """

    stage: Stage
    committed: Mapping[str, int]
    pools: Mapping[str, PoolProgress]
    seconds: float
    decisions: tuple[str, ...] = ("unsafe",)
    rates: Mapping[str, PoolRate] = field(default_factory=dict)
    run: str = ""

    @property
    def total(self) -> int:
        return self.stage.total

    @property
    def committed_rows(self) -> int:
        return self.committed.get("rows", 0)

    @property
    def done(self) -> int:
        """Rows finished, by this attempt or before it."""
        return self.stage.done_before + self.committed_rows

    @property
    def is_complete(self) -> bool:
        return self.done == self.total

    def rows_of(self, pool: str) -> int:
        """Rows that `pool` has finished, by this attempt or before it. Rows that were redone count once at most."""
        counted = self.pools.get(pool, PoolProgress()).counts["rows_out"]
        return min(self.total, self.stage.done_before + max(counted, self.committed_rows))

    @property
    def seconds_left(self) -> float | None:
        """Until the slowest pool has all rows, at the rates of the last minute; None before a rate is known."""
        left = [
            (self.total - self.rows_of(pool)) / rate.rows_per_second
            for pool, rate in self.rates.items()
            if pool in self.stage.pools and rate.rows_per_second
        ]
        if left:
            return max(left)
        return (self.total - self.done) * self.seconds / self.committed_rows if self.committed_rows else None

    @property
    def tokens(self) -> int:
        """Generated by the stage's first pool, which is the model's where it generates; rules alone have no pool."""
        return self.pools.get(self.stage.pools[0], PoolProgress()).counts["tokens"] if self.stage.pools else 0

    def progress_record(self, throughput: Throughput) -> ProgressRecord:
        """The snapshot for run.json. Counts of 0 are recorded too: to a reader an absent count is unknown."""
        stage = self.stage
        return ProgressRecord(
            stage=stage.number,
            stages=stage.stages,
            pools=stage.pools,
            total=stage.total,
            done_before=stage.done_before,
            committed=self.committed_rows,
            counts={
                name: stage.found.get(name, 0) + self.committed.get(name, 0) for name in (*self.committed, *stage.found)
            },
            ready={name: self.pools[name].ready for name in stage.pools if name in self.pools},
            seconds=round(self.seconds, 1),
            tokens_per_second=throughput.tokens_per_second,
            rows_per_second=throughput.rows_per_second,
        )


class Reporter(Protocol):
    """Shows whole sentences to a person."""

    def report(self, sentence: str) -> None: ...


class RunReporter(Reporter, Protocol):
    """Shows progress to a person. `update` gets a snapshot about twice a second."""

    def update(self, snapshot: Snapshot) -> None: ...


class PoolNotes:
    """Shows each note of a run's pools once, such as GPU memory that an engine waits for."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._shown: Counter[str] = Counter()

    def show(self, progress: Mapping[str, PoolProgress]) -> None:
        for name, pool in progress.items():
            for sentence in pool.notes[self._shown[name] :]:
                self._reporter.report(f"{name}: {sentence}")
            self._shown[name] = len(pool.notes)


class RecordingReporter:
    """A reporter for library use: stores the sentences, and passes each snapshot to `on_update`."""

    def __init__(self, on_update: Callable[[Snapshot], None] = lambda snapshot: None) -> None:
        self.sentences: list[str] = []
        self.update = on_update

    def report(self, sentence: str) -> None:
        self.sentences.append(sentence)


class PrefixedReporter:
    """The reporter of one run of a sweep: sentences and snapshots have the run's name. `last`: the latest snapshot."""

    def __init__(self, reporter: RunReporter, name: str) -> None:
        self._reporter = reporter
        self._name = name
        self.last: Snapshot | None = None

    def report(self, sentence: str) -> None:
        self._reporter.report(f"{self._name}: {sentence}")

    def update(self, snapshot: Snapshot) -> None:
        self.last = replace(snapshot, run=self._name)
        self._reporter.update(self.last)
