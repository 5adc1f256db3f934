"""What a pipeline tells of its progress, and to whom.

Throughput of a stage and of each of its pools over the last minutes.
"""

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
    """Keeps what was counted at most once a second, as far back as `row_seconds`. `clock` gives seconds."""

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
        self._paces: dict[str, Throughput] = {}

    def note(self, pools: Mapping[str, PoolProgress]) -> dict[str, PoolRate]:
        """Note the latest counts; gives the rate of each pool that has started."""
        for name, pool in pools.items():
            if name in self._paces or pool.ready:
                throughput = self._paces.setdefault(name, Throughput(self._clock, TOKEN_SECONDS))
                throughput.note(pool.counts["rows_out"], pool.counts["tokens"])
        return {
            name: PoolRate(throughput.rows_per_second, throughput.tokens_per_second)
            for name, throughput in self._paces.items()
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is.

    `done_before` rows were finished before this stage; `committed` holds the counts (`cluster.commit.COMMITTED`) of the
    rows since; `stage` names its pools; `seconds` count from the start of the stage, engines' loading included. `rates`
    are the throughputs of the pools that have started. `decisions` are the counts that say what the judges decide;
    `found` holds the same counts as `committed`, of the rows that were finished before. It is stage `number` of
    `stages`. `run` is its name where several runs are reported.
    """

    total: int
    done_before: int
    stage: tuple[str, ...]
    committed: Mapping[str, int]
    pools: Mapping[str, PoolProgress]
    seconds: float
    decisions: tuple[str, ...] = ("unsafe",)
    found: Mapping[str, int] = field(default_factory=dict)
    number: int = 1
    stages: int = 1
    run: str = ""
    rates: Mapping[str, PoolRate] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stage: Stage,
        committed: Mapping[str, int],
        pools: Mapping[str, PoolProgress],
        seconds: float,
        decisions: tuple[str, ...] = ("unsafe",),
        rates: Mapping[str, PoolRate] | None = None,
    ) -> "Snapshot":
        return cls(
            total=stage.total,
            done_before=stage.done_before,
            stage=stage.pools,
            committed=committed,
            pools=pools,
            seconds=seconds,
            decisions=decisions,
            found=stage.found,
            number=stage.number,
            stages=stage.stages,
            rates=rates or {},
        )

    @property
    def done(self) -> int:
        """Rows finished, by this try or before it."""
        return self.done_before + self.committed.get("rows", 0)

    @property
    def is_complete(self) -> bool:
        return self.done == self.total

    def rows_of(self, pool: str) -> int:
        """Rows that `pool` has finished, by this attempt or before it. Rows that were redone count once at most."""
        counted = self.pools.get(pool, PoolProgress()).counts["rows_out"]
        return min(self.total, self.done_before + max(counted, self.committed.get("rows", 0)))

    @property
    def seconds_left(self) -> float | None:
        """Until the slowest pool has all rows, at the rates of the last minute; None before a rate is known."""
        left = [
            (self.total - self.rows_of(pool)) / rate.rows_per_second
            for pool, rate in self.rates.items()
            if pool in self.stage and rate.rows_per_second
        ]
        if left:
            return max(left)
        rows = self.committed.get("rows", 0)
        return (self.total - self.done) * self.seconds / rows if rows else None

    @property
    def tokens(self) -> int:
        """What the stage's first pool generated, which is the model's where it generates; rules alone have no pool."""
        return self.pools.get(self.stage[0], PoolProgress()).counts["tokens"] if self.stage else 0

    def progress_record(self, throughput: Throughput) -> ProgressRecord:
        """What run.json tells of it."""
        return ProgressRecord(
            stage=self.number,
            stages=self.stages,
            pools=self.stage,
            total=self.total,
            done_before=self.done_before,
            committed=self.committed.get("rows", 0),
            # Zeros too: to whoever reads them a count that is not there is unknown.
            counts={
                name: self.found.get(name, 0) + self.committed.get(name, 0) for name in (*self.committed, *self.found)
            },
            ready={name: self.pools[name].ready for name in self.stage if name in self.pools},
            seconds=round(self.seconds, 1),
            tokens_per_second=throughput.tokens_per_second,
            rows_per_second=throughput.rows_per_second,
        )


class Reporter(Protocol):
    """Tells a person whole sentences."""

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
        for pool, seen in progress.items():
            for sentence in seen.notes[self._shown[pool] :]:
                self._reporter.report(f"{pool}: {sentence}")
            self._shown[pool] = len(seen.notes)


class RecordingReporter:
    """An observer for library use: keeps the sentences, hands the snapshots on."""

    def __init__(self, on_update: Callable[[Snapshot], None] = lambda snapshot: None) -> None:
        self.sentences: list[str] = []
        self.update = on_update

    def report(self, sentence: str) -> None:
        self.sentences.append(sentence)


class PrefixedReporter:
    """One run's part of a sweep's observer: every sentence and snapshot says whose it is. `last` is the latest one."""

    def __init__(self, reporter: RunReporter, name: str) -> None:
        self._reporter = reporter
        self._name = name
        self.last: Snapshot | None = None

    def report(self, sentence: str) -> None:
        self._reporter.report(f"{self._name}: {sentence}")

    def update(self, snapshot: Snapshot) -> None:
        self.last = replace(snapshot, run=self._name)
        self._reporter.update(self.last)
