"""Requeues the blocks of an actor whose node died or is draining, so that the other actors of its pool take them.

Ray Data gives such an actor no new blocks. Those that it has stay with it until it has started elsewhere, for which it
may wait long for a GPU, while other actors have room.
"""

import time
from collections.abc import Iterator
from typing import Any

import ray
from ray.actor import ActorHandle

from safechain_ray.cluster.nodes import staying_nodes
from safechain_ray.cluster.ray_internals.actor_pools import READ_POOLS, REQUEUE_TASKS, ActorPool, actor_id, pools_of
from safechain_ray.cluster.ray_internals.cluster_state import draining_nodes
from safechain_ray.cluster.ray_internals.hooks import Hook
from safechain_ray.cluster.ray_internals.stream_callback import CALLBACKS, StreamCallback

REQUEUE_ON_DRAIN = Hook(
    "requeue on drain",
    "rows of a drained node are recomputed only after the node is gone, by the replica that had them",
    (*CALLBACKS, *READ_POOLS, *REQUEUE_TASKS),
)

POLL_INTERVAL = 1.0
"""Seconds between two looks at the cluster's nodes."""


class RequeueOnDrain(StreamCallback):
    """Watches the actor pools of one stream, from the thread that runs the stream."""

    def __init__(self) -> None:
        self._polled = 0.0
        # Ids: a handle would keep an actor alive that Ray Data has let go, on a GPU that the next one waits for.
        self._moved: set[tuple[ray.ActorID, str]] = set()

    def on_execution_step(self, executor: Any) -> None:
        pools = pools_of(executor)
        if time.monotonic() - self._polled >= POLL_INTERVAL:
            self._polled = time.monotonic()
            staying, draining = staying_nodes(), draining_nodes()
            for pool in pools:
                self._relieve(pool, staying, draining)
        for pool in pools:
            pool.dispatch_queued()

    def _relieve(self, pool: ActorPool, staying: frozenset[str], draining: frozenset[str]) -> None:
        leaving = dict(self._leaving(pool, staying, draining))
        if not leaving or not pool.active_actors - leaving.keys():
            return
        pool.requeue_tasks(leaving.keys())
        for actor, node in leaving.items():
            if node in draining:
                # It starts again on a node that stays, at once or when there is one, and works on nothing meanwhile.
                self._moved.add((actor_id(actor), node))
                ray.kill(actor, no_restart=False)

    def _leaving(
        self, pool: ActorPool, staying: frozenset[str], draining: frozenset[str]
    ) -> Iterator[tuple[ActorHandle, str]]:
        """Actors that do not return to their node, with that node.

        An actor that lives on a node that is gone has moved already: Ray Data learns its place a little later.
        """
        for actor, (node, is_restarting) in pool.placements.items():
            if node in staying or (actor_id(actor), node) in self._moved:
                continue
            if node in draining or is_restarting:
                yield actor, node
