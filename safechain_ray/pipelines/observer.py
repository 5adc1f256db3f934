"""What a pipeline tells of its progress, and to whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from safechain_ray.cluster.tally import PoolProgress


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is.

    `done_before` rows were finished before this stage; `committed` holds the counts (`cluster.commit.COMMITTED`) of the
    rows since; `stage` names the pools at work; `seconds` count from the start of the stage, engines' loading included.
    `decisions` are the counts that say what the judges decide.
    """

    total: int
    done_before: int
    stage: tuple[str, ...]
    committed: Mapping[str, int]
    pools: Mapping[str, PoolProgress]
    seconds: float
    decisions: tuple[str, ...] = ("unsafe",)
    run: str = ""
    """The model whose run it is, in a sweep."""


class Observer(Protocol):
    """Shows progress to a person. `say` gets whole sentences, `update` a snapshot about twice a second."""

    def say(self, sentence: str) -> None: ...

    def update(self, snapshot: Snapshot) -> None: ...


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
