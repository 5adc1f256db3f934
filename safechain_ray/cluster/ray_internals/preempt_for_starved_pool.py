"""Gives a pool that lost its last actor the place of an actor of another pool, which has more.

When a judge's only node dies, replicas of the model may hold every GPU that is left. They would wait for the judge's
verdicts and the judge for a GPU, for ever. This works on what Ray Data 2.60 has inside.
"""

import time
from typing import Any

import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

from safechain_ray.cluster.nodes import staying_gpus
from safechain_ray.cluster.ray_internals.requeue_on_drain import actors_at_work, requeue_tasks

PATIENCE_SECONDS = 120.0
"""A pool waits so long for a place of its own: a node may be on its way, or what Ray Data knows of places old."""

LOOK_SECONDS = 1.0


class PreemptForStarvedPool(ExecutionCallback):  # type: ignore[misc]
    """Looks after the actor pools of one stream, from the thread that runs it."""

    def __init__(self) -> None:
        self._looked = 0.0
        self._waiting_since: dict[ActorPoolMapOperator, float] = {}

    def on_execution_step(self, executor: Any) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        pools = [op for op in executor._topology if isinstance(op, ActorPoolMapOperator) and not op.has_completed()]
        for op in pools:
            if not self._is_without_place(op, pools):
                self._waiting_since.pop(op, None)
            elif now - self._waiting_since.setdefault(op, now) >= PATIENCE_SECONDS:
                del self._waiting_since[op]
                _make_room([other for other in pools if other is not op])

    def _is_without_place(self, op: ActorPoolMapOperator, pools: list[ActorPoolMapOperator]) -> bool:
        """Whether the GPUs that the other pools leave are too few for one actor of `op`, which has none at work."""
        needs = op._actor_pool.per_actor_resource_usage().gpu
        if not needs or actors_at_work(op):
            return False
        taken = sum(
            len(actors_at_work(other)) * other._actor_pool.per_actor_resource_usage().gpu
            for other in pools
            if other is not op
        )
        return bool(taken and staying_gpus() - taken < needs)


def _make_room(pools: list[ActorPoolMapOperator]) -> None:
    """End one actor of the pool that has most of them at work.

    Ray Data lets the pool grow back as soon as the cluster has room for it.
    """
    end_one_actor(max(pools, key=lambda op: len(actors_at_work(op))))


def end_one_actor(op: ActorPoolMapOperator) -> bool:
    """End the actor of a pool that has least to do; its blocks go to the others there. False if it is the only one."""
    actors = actors_at_work(op)
    if len(actors) < 2:
        return False
    actor = min(actors, key=lambda actor: op._actor_pool._running_actors[actor].num_tasks_in_flight)
    requeue_tasks(op, {actor._actor_id})
    op._actor_pool._release_running_actor(actor)
    ray.kill(actor)
    return True
