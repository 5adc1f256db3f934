"""What a pipeline tells of its progress, and to whom."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.stage import Stage
from safechain_ray.runs.live import Live
from safechain_ray.runs.pace import Pace, PoolRate


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

    def live(self, pace: Pace) -> Live:
        """What run.json tells of it."""
        return Live(
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
            tokens_per_second=pace.tokens_per_second,
            rows_per_second=pace.rows_per_second,
        )


class Speaker(Protocol):
    """Tells a person whole sentences."""

    def say(self, sentence: str) -> None: ...


class Observer(Speaker, Protocol):
    """Shows progress to a person. `update` gets a snapshot about twice a second."""

    def update(self, snapshot: Snapshot) -> None: ...


class PoolNotes:
    """Shows each note of a run's pools once, such as GPU memory that an engine waits for."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._shown: Counter[str] = Counter()

    def show(self, progress: Mapping[str, PoolProgress]) -> None:
        for pool, seen in progress.items():
            for sentence in seen.notes[self._shown[pool] :]:
                self._speaker.say(f"{pool}: {sentence}")
            self._shown[pool] = len(seen.notes)


class Silent:
    """An observer for library use: keeps the sentences, hands the snapshots on."""

    def __init__(self, on_update: Callable[[Snapshot], None] = lambda snapshot: None) -> None:
        self.sentences: list[str] = []
        self.update = on_update

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


class Named:
    """One run's part of a sweep's observer: every sentence and snapshot says whose it is. `last` is the latest one."""

    def __init__(self, observer: Observer, name: str) -> None:
        self._observer = observer
        self._name = name
        self.last: Snapshot | None = None

    def say(self, sentence: str) -> None:
        self._observer.say(f"{self._name}: {sentence}")

    def update(self, snapshot: Snapshot) -> None:
        self.last = replace(snapshot, run=self._name)
        self._observer.update(self.last)
