"""Hands the blocks of an actor whose node is gone, or told to go, to the other actors of its pool.

Ray Data gives such an actor no new blocks, but those that it has stay with it until it has started elsewhere, for which
it may wait long for a GPU, while others have room. This works on what Ray Data 2.60 has inside.
"""

import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

from safechain_ray.cluster.nodes import staying_nodes
from safechain_ray.cluster.ray_internals.cluster_state import draining_nodes

LOOK_SECONDS = 1.0


class RequeuedError(Exception):
    """How a task ended whose block went to another actor; nobody gets to see it."""


class RequeueOnDrain(ExecutionCallback):  # type: ignore[misc]
    """Looks after the actor pools of one stream, from the thread that runs it."""

    def __init__(self) -> None:
        self._looked = 0.0
        # Ids: a handle would keep an actor alive that Ray Data has let go, on a GPU that the next one waits for.
        self._moved: set[tuple[ray.ActorID, str]] = set()

    def on_execution_step(self, executor: Any) -> None:
        pools = [op for op in executor._topology if isinstance(op, ActorPoolMapOperator)]
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            staying, draining = staying_nodes(), draining_nodes()
            for op in pools:
                self._relieve(op, staying, draining)
        for op in pools:
            if op._bundle_queue.has_next():
                op._try_schedule_tasks_internal()  # Ray Data does it when the next block comes, if one does

    def _relieve(self, op: ActorPoolMapOperator, staying: frozenset[str], draining: frozenset[str]) -> None:
        leaving = dict(self._leaving(op, staying, draining))
        if not leaving or not actors_at_work(op) - leaving.keys():
            return
        requeue_tasks(op, {actor._actor_id for actor in leaving})
        for actor, node in leaving.items():
            if node in draining:
                # It starts again on a node that stays, at once or when there is one, and works on nothing meanwhile.
                self._moved.add((actor._actor_id, node))
                ray.kill(actor, no_restart=False)

    def _leaving(
        self, op: ActorPoolMapOperator, staying: frozenset[str], draining: frozenset[str]
    ) -> Iterator[tuple[ActorHandle, str]]:
        """Actors that are not to come back where they were, with that node.

        One that lives on a node that is gone has moved already: Ray Data learns of its place a little later.
        """
        for actor, state in op._actor_pool._running_actors.items():
            node = state.actor_location
            if node in staying or (actor._actor_id, node) in self._moved:
                continue
            if node in draining or state.is_restarting:
                yield actor, node


def actors_at_work(op: ActorPoolMapOperator) -> set[ActorHandle]:
    """The actors of a pool that have started and get blocks."""
    return set(op._actor_pool._alive_actors_to_in_flight_tasks_heap)


def requeue_tasks(op: ActorPoolMapOperator, actors: set[ray.ActorID]) -> None:
    """End the tasks of these actors before their time, and put their blocks back where blocks wait for an actor.

    A task makes one block: one that has made it is as good as done.
    """
    for number, task in list(op._data_tasks.items()):
        running = op._metrics._running_tasks[number]
        if running.task_id.actor_id() not in actors or task.is_drained() or task.has_pending_emits():
            continue
        ray.cancel(task.get_waitable())
        task._task_done_callback(RequeuedError(), None, None)
        if running.num_outputs == 0:
            op._bundle_queue.add(running.inputs)
            op._metrics.on_input_queued(running.inputs, input_index=0)
