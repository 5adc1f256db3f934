"""What a pipeline tells of its progress, and to whom."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
