"""How many batches an actor of a pool runs at once, in the installed Ray and in one older than 2.59."""

from dataclasses import dataclass

import pytest
from ray.data import ActorPoolStrategy

from safechain_ray.cluster import pipeline


@dataclass
class OldStrategy:
    """ActorPoolStrategy as Ray had it up to 2.58."""

    size: int
    max_tasks_in_flight_per_actor: int


def test_an_actor_runs_as_many_batches_as_it_holds() -> None:
    arguments = pipeline.actor_pool(4, min_size=1, max_size=3, initial_size=2)
    strategy = arguments["compute"]
    assert isinstance(strategy, ActorPoolStrategy)
    assert (strategy.min_size, strategy.max_size, strategy.initial_size) == (1, 3, 2)
    assert strategy.max_tasks_in_flight_per_actor == 4
    assert {arguments.get("max_concurrency"), getattr(strategy, pipeline.MAX_CALLS, None)} == {4, None}


def test_an_older_ray_takes_the_number_as_an_option_of_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "ActorPoolStrategy", OldStrategy)
    assert pipeline.actor_pool(4, size=1) == {"compute": OldStrategy(1, 4), "max_concurrency": 4}
