"""How far a training is, and who is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from safechain_ray.runs.progress import Speaker


@dataclass(frozen=True, slots=True)
class TrainingSnapshot:
    """`step` of `steps` (0: not known yet) is done, `resumed_from` of them before this try, which is `seconds` old.

    `phase` says what the workers do now; `logged` has the last figures by their names in metrics.jsonl.
    """

    phase: str
    step: int = 0
    steps: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    steps_per_second: float | None = None
    tokens_per_second: float | None = None
    logged: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        return (self.steps - self.step) / self.steps_per_second if self.steps_per_second else None


class TrainingObserver(Speaker, Protocol):
    """Shows a training's progress. `update` gets a snapshot for whatever is new."""

    def update(self, snapshot: TrainingSnapshot) -> None: ...


class SilentTraining:
    """An observer for library use: keeps the sentences and the last snapshot."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.last: TrainingSnapshot | None = None

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def update(self, snapshot: TrainingSnapshot) -> None:
        self.last = snapshot
