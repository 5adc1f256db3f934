"""Which pool of a stream is the model's, and what a control does that Ray does not poll. No Ray runs."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.data import DataContext
from ray.data._internal.actor_autoscaler.autoscaling_actor_pool import AutoscalingActorConfig
from ray.data._internal.execution.interfaces.execution_options import ExecutionResources

from safechain_ray.cluster import stream_control
from safechain_ray.cluster.ray_internals import stream_context
from safechain_ray.cluster.ray_internals.actor_pools import ActorPool, declare_pool, pools_of
from safechain_ray.cluster.stream_control import StreamControl, StreamStoppedError


class Operator:
    """An operator of a stream, with a pool of actors or without."""

    def __init__(self, name: str, has_pool: bool = True) -> None:
        self.name = name
        self._has_pool = has_pool

    def get_autoscaling_actor_pools(self) -> list[Any]:
        return [SimpleNamespace()] if self._has_pool else []


def stream_of(*operators: Operator, declared: tuple[bool, ...]) -> Any:
    context = DataContext.get_current().copy()
    for generates in declared:
        declare_pool(SimpleNamespace(context=context), generates)
    return SimpleNamespace(_data_context=context, _topology=dict.fromkeys(operators))


def test_the_models_pool_is_known_by_its_place_whatever_operators_are_called() -> None:
    source, commit = Operator("Input", has_pool=False), Operator("MapBatches(BlockWriter)", has_pool=False)
    model, judge = Operator("MapBatches(read)->MapBatches(Worker)"), Operator("MapBatches(GeneratorWorker)")
    pools = pools_of(stream_of(source, model, judge, commit, declared=(True, False)))
    assert [(pool.operator, pool.generates) for pool in pools] == [(model, True), (judge, False)]


def test_without_a_pool_for_each_declared_one_no_pool_is_taken_for_the_models() -> None:
    pools = pools_of(stream_of(Operator("MapBatches(GeneratorWorker)"), declared=(True, False)))
    assert [pool.generates for pool in pools] == [False]


def test_a_pool_shrinks_below_the_size_that_it_started_with() -> None:
    config = AutoscalingActorConfig(
        min_size=1,
        max_size=2,
        initial_size=2,
        max_tasks_in_flight_per_actor=1,
        max_actor_concurrency=1,
        per_actor_resource_usage=ExecutionResources(),
    )
    pool = SimpleNamespace(_config=config)
    shown = ActorPool(operator=None, generates=True, _state=None, _pool=pool)
    shown.set_max_size(1)
    assert (pool._config.max_size, pool._config.min_size) == (1, 1)
    shown.set_max_size(3)
    assert pool._config.max_size == 3


def test_a_stream_that_ray_does_not_poll_stops_after_the_next_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_context, "STREAM_CONTROL", SimpleNamespace(is_on=lambda: False))
    monkeypatch.setattr(stream_control, "remove_unused_groups", lambda: None)
    context = DataContext.get_current().copy()
    control = StreamControl()
    control.attach(SimpleNamespace(context=context))
    assert context.custom_execution_callback_classes == []
    control.check_after_block()
    control.stop()
    with pytest.raises(StreamStoppedError):
        control.check_after_block()


def test_a_stream_that_ray_polls_is_stopped_by_the_poll_alone() -> None:
    control = StreamControl()
    control.attach(SimpleNamespace(context=DataContext.get_current().copy()))
    control.stop()
    control.check_after_block()
    with pytest.raises(StreamStoppedError):
        control.poll([])
