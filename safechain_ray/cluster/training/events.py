"""What workers that train tell the driver, in the order in which it happened; an actor beside the driver keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safechain_ray.cluster.nodes import beside_driver

TRAINING = "training"
"""The phase in which steps are done."""


@dataclass(frozen=True, slots=True)
class Phase:
    """The first worker has begun something else than steps: it loads, saves, uploads."""

    name: str


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence for a person."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Began:
    """The workers go on after `step`; `history` is what was logged until then."""

    step: int
    history: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Stepped:
    """`step` of `steps` is done."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Logged:
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a worker ends. With `error` it is known what to fix; else another one's death may be the reason."""

    rank: int
    reason: str
    error: Exception | None


@dataclass(frozen=True, slots=True)
class Finished:
    """All steps are done and the model is in the output."""

    steps: int
    loss: float
    evaluation_loss: float | None
    tokens: int
    seconds: float


TrainingEvent = Phase | Said | Began | Stepped | Logged | Failed | Finished


class EventLog:
    """The actor: what came, from the beginning."""

    def __init__(self) -> None:
        self._news: list[TrainingEvent] = []

    def tell(self, news: TrainingEvent) -> None:
        self._news.append(news)

    def since(self, number: int) -> list[TrainingEvent]:
        return self._news[number:]


def start_board() -> Any:
    return beside_driver(EventLog)
