"""Preempts an actor of the largest pool for a pool that lost its last actor and finds no GPU.

When a judge's only node dies, replicas of the model may hold every GPU that is left. They would wait for the judge's
verdicts and the judge for a GPU, for ever.
"""

import time
from collections.abc import Sequence
from typing import Any

from safechain_ray.cluster.nodes import staying_gpus
from safechain_ray.cluster.ray_internals.actor_pools import END_ACTORS, READ_POOLS, ActorPool, pools_of
from safechain_ray.cluster.ray_internals.hooks import Hook
from safechain_ray.cluster.ray_internals.stream_callback import CALLBACKS, StreamCallback

PREEMPT_FOR_STARVED_POOL = Hook(
    "preemption for a starved pool",
    "a judge whose last node died waits until another node joins, though replicas of the model hold GPUs",
    (*CALLBACKS, *READ_POOLS, *END_ACTORS),
)

GRACE_PERIOD = 120.0
"""Seconds that a pool waits for a place of its own: a node may be joining, or Ray Data's view of places be old."""

POLL_INTERVAL = 1.0
"""Seconds between two looks at the pools."""


class PreemptForStarvedPool(StreamCallback):
    """Watches the actor pools of one stream, from the thread that runs the stream."""

    def __init__(self) -> None:
        self._polled = 0.0
        self._starved_since: dict[Any, float] = {}  # by operator

    def on_execution_step(self, executor: Any) -> None:
        now = time.monotonic()
        if now - self._polled < POLL_INTERVAL:
            return
        self._polled = now
        pools = [pool for pool in pools_of(executor) if not pool.has_completed]
        for pool in pools:
            others = [other for other in pools if other is not pool]
            if not _is_starved(pool, others):
                self._starved_since.pop(pool.operator, None)
            elif now - self._starved_since.setdefault(pool.operator, now) >= GRACE_PERIOD:
                del self._starved_since[pool.operator]
                # Ray Data lets the preempted pool grow back as soon as the cluster has room for it.
                max(others, key=lambda other: len(other.active_actors)).end_one_actor()


def _is_starved(pool: ActorPool, others: Sequence[ActorPool]) -> bool:
    """Whether the GPUs that the other pools leave are too few for one actor of `pool`, which has no active one."""
    needs = pool.gpus_per_actor
    if not needs or pool.active_actors:
        return False
    taken = sum(len(other.active_actors) * other.gpus_per_actor for other in others)
    return bool(taken and staying_gpus() - taken < needs)
