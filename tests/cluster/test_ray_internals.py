"""Hooks into Ray on a real cluster: a run without one of them, and what a run leaves of a library user's Ray Data."""

import sys
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cloudpickle import register_pickle_by_value
from ray.data import DataContext, Dataset

from safechain_ray.cluster import pipeline, session
from safechain_ray.cluster.ray_internals import cluster_state, hooks
from safechain_ray.cluster.ray_internals.actor_pools import ActorPool
from safechain_ray.cluster.ray_internals.stream_context import ReplicateToDriver, RequeueOnDrain
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.runs.progress import Snapshot
from tests.cluster.scripted_runs import Runner

pytestmark = pytest.mark.usefixtures("one_driver")

register_pickle_by_value(sys.modules[__name__])  # the nodes can't import it


def state_of(value: Any) -> Any:
    """A value that compares what an object holds, down to its innermost fields."""
    if isinstance(value, dict):
        return {key: state_of(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [state_of(each) for each in value]
    if hasattr(value, "__dict__") and not isinstance(value, type | Enum) and not callable(value):
        return type(value), state_of(vars(value))
    return value


class OfTheUser:
    """A callback that a library user has for jobs of their own."""

    def before_execution_starts(self, executor: Any) -> None: ...
    def on_execution_step(self, executor: Any) -> None: ...
    def after_execution_succeeds(self, executor: Any) -> None: ...
    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """The data sets at the source of each stream."""
    seen: list[Dataset] = []
    configure = pipeline.configure

    def note(source: Dataset) -> Dataset:
        seen.append(configure(source))
        return seen[-1]

    monkeypatch.setattr(pipeline, "configure", note)
    return seen


def test_a_run_leaves_the_ray_data_of_a_library_user_as_it_was(
    run: Runner, streams: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = DataContext.get_current()
    monkeypatch.setattr(context, "custom_execution_callback_classes", [OfTheUser])
    before = state_of(context)
    meanwhile: list[Any] = []

    def look(snapshot: Snapshot) -> None:
        if not meanwhile and snapshot.committed.get("rows"):
            meanwhile.append(state_of(ray.data.range(1).context))

    run.on_update = look
    done = run(samples=1)

    assert done.metrics.settings[0].outcomes["ok"] > 0
    assert DataContext.get_current() is context
    assert state_of(context) == before
    assert meanwhile == [before]
    (source,) = streams
    assert source.context is not context
    assert source.context.custom_execution_callback_classes[:2] == [OfTheUser, ReplicateToDriver]
    assert not source.context.enable_progress_bars


def test_a_run_completes_without_a_private_name_and_says_once_what_is_lost(
    run: Runner, streams: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.data._internal.execution.metadata_fetcher import MetadataFetcher

    said: list[str] = []
    monkeypatch.setattr(hooks, "_warned", set())
    monkeypatch.setattr(hooks.logger, "warning", lambda text, *values: said.append(text % values))
    monkeypatch.delattr(MetadataFetcher, "in_data_ready_get_object_size")  # of the interface: Ray's own runs without it
    done = run(samples=1)

    assert done.metrics.settings[0].outcomes["ok"] == len(run.rows) > 0
    (sentence,) = said
    assert (
        "MetadataFetcher.in_data_ready_get_object_size. The hook replication to the driver is off: when a" in sentence
    )
    (source,) = streams
    assert ReplicateToDriver not in source.context.custom_execution_callback_classes
    assert RequeueOnDrain in source.context.custom_execution_callback_classes


def test_a_run_completes_without_any_hook(run: Runner, streams: list[Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(hooks, "_warned", set())
    monkeypatch.setattr(hooks.logger, "warning", lambda text, *values: said.append(values[2]))
    monkeypatch.setattr(hooks, "_exists", lambda module, path: False)
    done = run(samples=1)

    assert done.metrics.settings[0].outcomes["ok"] == len(run.rows) > 0
    (source,) = streams
    assert source.context.custom_execution_callback_classes == []
    assert sorted(said) == sorted(set(said))
    assert {"replication to the driver", "requeue on drain", "source buffer", "stream control"} < set(said)


def test_in_a_running_stream_the_models_pool_is_the_one_of_its_replicas(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[tuple[str, bool], ...]] = set()
    poll = StreamControl.poll

    def note(control: StreamControl, pools: Sequence[ActorPool]) -> None:
        seen.add(tuple((pool.operator.name, pool.generates) for pool in pools))
        poll(control, pools)

    monkeypatch.setattr(StreamControl, "poll", note)
    run(samples=1)
    (((model, is_models), (judge, is_also_models)),) = seen
    assert (is_models, is_also_models) == (True, False)
    assert "(Replica)" in model
    assert "(EngineJudge)" in judge


def test_the_log_folder_is_the_one_that_ray_itself_names() -> None:
    assert session._log_folder() == Path(ray._private.worker.global_worker.node.get_logs_dir_path())


def test_free_resources_are_the_same_by_the_public_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def cpus() -> dict[str, float]:
        return {node: free.get("CPU", 0.0) for node, free in cluster_state.free_resources().items()}

    def without_the_hook() -> dict[str, float]:
        with monkeypatch.context() as other:
            other.setattr(hooks, "_exists", lambda module, path: False)
            return cpus()

    deadline = time.monotonic() + 30
    while cpus() != without_the_hook():
        assert time.monotonic() < deadline, (cpus(), without_the_hook())
        time.sleep(0.5)
    assert len(cpus()) == 2
