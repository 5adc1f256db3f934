"""Actor pools of a running stream: their actors, their sizes, and the blocks in flight of each actor.

The model's pool is identified by its position. Each pool is declared in the DataContext of its data set when it is
added to the stream. Ray Data keeps this order: it builds the topology from the source on, and the optimizer never
fuses two actor pools. The alternatives need more private names: `map_batches` has no name for an operator, display
names contain those of fused operators, and labels (`_labels`) are a private option in `_ray_remote_args`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.data import Dataset

from safechain_ray.cluster.ray_internals.hooks import Hook, Needs

_EXECUTOR = "ray.data._internal.execution.streaming_executor"
_STATE = "ray.data._internal.execution.streaming_executor_state"
_OPERATOR = "ray.data._internal.execution.interfaces.physical_operator"
_METRICS = "ray.data._internal.execution.interfaces.op_runtime_metrics"
_POOL_OPERATOR = "ray.data._internal.execution.operators.actor_pool_map_operator"
_SCALING = "ray.data._internal.actor_autoscaler.autoscaling_actor_pool"

READ_POOLS: Needs = (
    (_EXECUTOR, "StreamingExecutor._data_context"),
    (_EXECUTOR, "StreamingExecutor._topology"),
    (_STATE, "OpState.total_enqueued_input_blocks"),
    (_OPERATOR, "PhysicalOperator.get_autoscaling_actor_pools"),
    (_OPERATOR, "PhysicalOperator.has_completed"),
    (_OPERATOR, "PhysicalOperator._inputs_complete"),
    (_SCALING, "AutoscalingActorPool.current_size"),
    (_SCALING, "AutoscalingActorPool.max_size"),
    (_SCALING, "AutoscalingActorPool.min_size"),
    (_SCALING, "AutoscalingActorPool.per_actor_resource_usage"),
    (_POOL_OPERATOR, "_ActorPool._running_actors"),
    (_POOL_OPERATOR, "_ActorPool._pending_actors"),
    (_POOL_OPERATOR, "_ActorPool._alive_actors_to_in_flight_tasks_heap"),
    (_POOL_OPERATOR, "_ActorState.num_tasks_in_flight"),
    (_POOL_OPERATOR, "_ActorState.actor_location"),
    (_POOL_OPERATOR, "_ActorState.is_restarting"),
    ("ray.actor", "ActorHandle._actor_id"),
)
"""Public API looked for: `Dataset.stats()` is text, and complete only at the end. `ray.util.state` knows no pools and
needs the dashboard, which a local Ray does not start. AutoscalingActorPool (a developer API) counts its actors, but has
no list of them. No public property shows that an operator has all its inputs. An ActorHandle has no public id."""

REQUEUE_TASKS: Needs = (
    (_POOL_OPERATOR, "ActorPoolMapOperator._bundle_queue"),
    (_POOL_OPERATOR, "ActorPoolMapOperator._data_tasks"),
    (_POOL_OPERATOR, "ActorPoolMapOperator._try_schedule_tasks_internal"),
    (_OPERATOR, "PhysicalOperator.metrics"),
    (_OPERATOR, "DataOpTask._task_done_callback"),
    (_OPERATOR, "DataOpTask.get_waitable"),
    (_OPERATOR, "DataOpTask.is_drained"),
    (_OPERATOR, "DataOpTask.has_pending_emits"),
    (_METRICS, "OpRuntimeMetrics._running_tasks"),
    (_METRICS, "OpRuntimeMetrics.on_input_queued"),
    (_METRICS, "RunningTaskInfo.inputs"),
    (_METRICS, "RunningTaskInfo.num_outputs"),
    (_METRICS, "RunningTaskInfo.task_id"),
    ("ray", "TaskID.actor_id"),
)
"""Public API looked for: `ray.cancel` alone fails the stream with the task. `max_task_retries` of a map worker sends a
task to the same actor again. `PhysicalOperator.get_active_tasks` mixes in tasks without blocks."""

END_ACTORS: Needs = (*REQUEUE_TASKS, (_POOL_OPERATOR, "_ActorPool._release_running_actor"))
"""Public API looked for: `AutoscalingActorPool.scale` ends idle and pending actors only."""

POOL_SIZES = Hook(
    "pool sizes",
    "a sweep gives a running model no more replicas and no fewer, and no GPU moves between the pools of a stage",
    (
        *READ_POOLS,
        *END_ACTORS,
        (_SCALING, "AutoscalingActorPool._config"),
        (_SCALING, "AutoscalingActorConfig.initial_size"),
        (_SCALING, "AutoscalingActorConfig.max_size"),
        (_SCALING, "AutoscalingActorPool.scale"),
        (_SCALING, "ActorPoolScalingRequest.upscale"),
    ),
)
"""Public API looked for: the sizes of an ActorPoolStrategy are read once, when the stream starts."""

POOLS_KEY = "safechain_pools"


class RequeuedError(Exception):
    """The result of a task whose block was requeued. It never reaches a user."""


@dataclass(frozen=True, slots=True, eq=False)
class ActorPool:
    """One pool at one step of its stream. For the thread that runs the stream only."""

    operator: Any
    generates: bool
    _state: Any
    _pool: Any

    @property
    def size(self) -> int:
        """Number of actors that are running, restarting or pending."""
        return int(self._pool.current_size())

    @property
    def min_size(self) -> int:
        return int(self._pool.min_size())

    @property
    def max_size(self) -> int:
        return int(self._pool.max_size())

    @property
    def gpus_per_actor(self) -> float:
        return self._pool.per_actor_resource_usage().gpu or 0.0

    @property
    def has_queued_rows(self) -> bool:
        return bool(self._state.total_enqueued_input_blocks() > 0)

    @property
    def has_all_input(self) -> bool:
        """Whether the upstream operators have completed; blocks may still be queued."""
        return bool(self.operator._inputs_complete)

    @property
    def has_completed(self) -> bool:
        return bool(self.operator.has_completed())

    @property
    def actors(self) -> tuple[ActorHandle, ...]:
        """All actors, pending ones included."""
        return (*self._pool._running_actors, *self._pool._pending_actors.values())

    @property
    def active_actors(self) -> set[ActorHandle]:
        """The actors that receive blocks: started, not restarting, and not on a draining node."""
        return set(self._pool._alive_actors_to_in_flight_tasks_heap)

    @property
    def placements(self) -> Mapping[ActorHandle, tuple[str, bool]]:
        """The node of each started actor, and whether it is restarting. Ray Data updates both a moment late."""
        started = self._pool._running_actors.items()
        return {actor: (state.actor_location, state.is_restarting) for actor, state in started}

    def dispatch_queued(self) -> None:
        """Send queued blocks to actors with free slots. Ray Data does so only when another block arrives."""
        if self.operator._bundle_queue.has_next():
            self.operator._try_schedule_tasks_internal()

    def requeue_tasks(self, actors: Collection[ActorHandle]) -> None:
        """Cancel the tasks of these actors, and requeue their blocks.

        A task has one output block. A task that has produced its block is not requeued.
        """
        op, metrics = self.operator, self.operator.metrics
        ids = {actor_id(actor) for actor in actors}
        for number, task in list(op._data_tasks.items()):
            running = metrics._running_tasks[number]
            if running.task_id.actor_id() not in ids or task.is_drained() or task.has_pending_emits():
                continue
            ray.cancel(task.get_waitable())
            task._task_done_callback(RequeuedError(), None, None)
            if running.num_outputs == 0:
                op._bundle_queue.add(running.inputs)
                metrics.on_input_queued(running.inputs, input_index=0)

    def end_one_actor(self) -> bool:
        """End the actor with the fewest tasks, and requeue its blocks. False where no other actor is active."""
        actors = self.active_actors
        if len(actors) < 2:
            return False
        actor = min(actors, key=lambda actor: self._pool._running_actors[actor].num_tasks_in_flight)
        self.requeue_tasks({actor})
        self._pool._release_running_actor(actor)
        ray.kill(actor)
        return True

    def set_max_size(self, actors: int) -> None:
        """Set the maximum size. Ray Data's autoscaler ends idle actors above it, and starts some when all are full.

        A config with an initial size above the maximum is refused, also after the start.
        """
        config = self._pool._config
        self._pool._config = replace(config, max_size=actors, initial_size=min(config.initial_size, actors))

    def add_actors(self, count: int, reason: str) -> None:
        """Start actors now. They are pending until the cluster has free resources."""
        from ray.data._internal.actor_autoscaler.autoscaling_actor_pool import ActorPoolScalingRequest

        self._pool.scale(ActorPoolScalingRequest.upscale(delta=count, reason=reason))


def actor_id(actor: ActorHandle) -> ray.ActorID:
    """The id of an actor. A stored handle would keep the actor alive, and its GPU in use."""
    return actor._actor_id


def declare_pool(stream: Dataset, generates: bool) -> None:
    """Declare the operator that is added next to `stream` as an actor pool. `generates` marks the model's pool."""
    declared = stream.context.get_config(POOLS_KEY, ())
    stream.context.set_config(POOLS_KEY, (*declared, generates))


def pools_of(executor: Any) -> list[ActorPool]:
    """The pools of a running stream, in the order of the stream."""
    declared: tuple[bool, ...] = executor._data_context.get_config(POOLS_KEY, ())
    found = [
        (operator, state, pool)
        for operator, state in executor._topology.items()
        for pool in operator.get_autoscaling_actor_pools()
    ]
    if len(declared) != len(found):  # another version of Ray may fuse or split pools: then the model's pool is unknown
        declared = (False,) * len(found)
    return [
        ActorPool(operator, generates, state, pool)
        for generates, (operator, state, pool) in zip(declared, found, strict=True)
    ]
