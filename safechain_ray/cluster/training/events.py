"""Event log of a training: what workers report to the driver, oldest first; an actor on the driver's node."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safechain_ray.cluster.nodes import beside_driver

TRAINING = "training"
"""The phase in which training steps are made."""


@dataclass(frozen=True, slots=True)
class Phase:
    """The first worker has entered another phase, such as loading or uploading."""

    name: str


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the user."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Started:
    """The workers continue after `step`. `history` has the values that were logged up to that step."""

    step: int
    history: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class StepDone:
    """`step` of `steps` is done."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Logged:
    """Values that the trainer logged."""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a worker ends. An `error` of None may be the consequence of another worker's death."""

    rank: int
    reason: str
    error: Exception | None


@dataclass(frozen=True, slots=True)
class Finished:
    """All steps are done, and the model is in the output."""

    steps: int
    loss: float
    evaluation_loss: float | None
    tokens: int
    seconds: float


TrainingEvent = Phase | Note | Started | StepDone | Logged | Failed | Finished


class EventLog:
    """The actor: an append-only list of events."""

    def __init__(self) -> None:
        self._events: list[TrainingEvent] = []

    def append(self, event: TrainingEvent) -> None:
        self._events.append(event)

    def since(self, number: int) -> list[TrainingEvent]:
        """The events from `number` on, counted from 0."""
        return self._events[number:]


def start_event_log() -> Any:
    return beside_driver(EventLog)
