"""Control of a running stream from other threads: stop, maximum number of replicas, move of a replica between pools.

Ray Data has no API for these while a stream runs. Its scheduling loop polls the control at every step, in the thread
that runs the stream. Without that hook a stop takes effect between two committed blocks, and the rest has no effect.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.data import Dataset

from safechain_ray.cluster.placement_groups import remove_unused_groups
from safechain_ray.cluster.ray_internals.actor_pools import POOL_SIZES, ActorPool
from safechain_ray.cluster.ray_internals.stream_context import attach

POLL_INTERVAL = 0.5
"""Seconds between two changes of pool sizes; a stop takes effect at the next step."""


class StreamStoppedError(Exception):
    """Raised inside a stream that was stopped."""


class StreamControl:
    """Control of the streams of one run, which run one after the other."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._over = threading.Event()
        self._max_replicas: int | None = None
        self._move: tuple[int, int] | None = None
        self._polled = 0.0
        self._is_polled = False
        self._resizes = False
        self._actors: list[Any] = []
        self._last_replicas: int | None = None

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    @property
    def last_replicas(self) -> int | None:
        """Replicas still holding the model's final rows; None while rows are queued.

        Ray Data scales idle replicas down at the end of a stream.
        """
        return self._last_replicas

    def stop(self) -> None:
        """Stop finally, at the next step of the current stream or of the next one."""
        self._stopped.set()

    def end_stream(self) -> None:
        """End the current stream at its next step, in the stream's own thread."""
        self._over.set()

    def forget_actors(self, kill: bool) -> None:
        """Drop the actors of a stream that has ended; `kill` those of one that failed or was stopped.

        Ray Data itself only drops its handles. The actors would stay alive while a traceback refers to them, and keep
        their GPUs.
        """
        for actor in self._actors if kill else ():
            ray.kill(actor)
        self._actors = []

    def set_max_replicas(self, replicas: int) -> None:
        """Set the maximum of the model's pool. It grows while rows are queued; idle replicas above the maximum end."""
        self._max_replicas = replicas

    def move_replica(self, donor: int, receiver: int) -> None:
        """End one replica of a pool and start one of another; both are counted in the order of the stream."""
        self._move = donor, receiver

    def attach(self, stream: Dataset) -> None:
        """Control a stream that is about to start."""
        self._over.clear()
        self._move = None
        self._last_replicas = None
        self._is_polled = attach(stream, self)
        self._resizes = self._is_polled and POOL_SIZES.is_on()

    def poll(self, pools: Sequence[ActorPool]) -> None:
        """Apply the requests of other threads; called at every step by the thread that runs the stream.

        Raises:
            StreamStoppedError: The stream was stopped or ended.
        """
        self._raise_if_stopped()
        if time.monotonic() - self._polled < POLL_INTERVAL:
            return
        self._polled = time.monotonic()
        remove_unused_groups()
        if self._move is not None:
            donor, receiver = (pools[index] for index in self._move)
            self._move = None
            if self._resizes:
                _move_replica(donor, receiver)
        last_replicas: int | None = 0  # of a stage that only judges
        for pool in pools:
            if not pool.generates:
                continue
            last_replicas = pool.size if pool.has_all_input and not pool.has_queued_rows else None
            if self._max_replicas is not None and self._resizes:
                _resize(pool, max(self._max_replicas, pool.min_size))
        self._last_replicas = last_replicas
        self._actors = [actor for pool in pools for actor in pool.actors]

    def check_after_block(self) -> None:
        """Stop the stream between two committed blocks, where Ray does not poll the control.

        Raises:
            StreamStoppedError: The stream was stopped or ended.
        """
        if not self._is_polled:
            self._raise_if_stopped()
            remove_unused_groups()

    def _raise_if_stopped(self) -> None:
        if self._stopped.is_set() or self._over.is_set():
            raise StreamStoppedError("the stream was stopped")


def _resize(pool: ActorPool, replicas: int) -> None:
    """Set the maximum size of a pool, and start the missing actors while rows are queued.

    Ray Data's own autoscaler ends idle actors above the size, and starts actors once the others are nearly full. Here
    the missing actors are started at once.
    """
    pool.set_max_size(replicas)
    missing = replicas - pool.size
    if pool.has_queued_rows and missing > 0:
        pool.add_actors(missing, reason="the sweep has free resources")


def _move_replica(donor: ActorPool, receiver: ActorPool) -> None:
    """End a replica of the donor and start one of the receiver, which waits until Ray has released the GPU.

    Ray Data may have scaled an idle donor down already. Its lower maximum then prevents a restart.
    """
    if donor.max_size < 2:
        return
    donor.set_max_size(donor.max_size - 1)
    if donor.size > donor.max_size:
        donor.end_one_actor()
    receiver.set_max_size(receiver.max_size + 1)
    receiver.add_actors(1, reason="a GPU has moved to this pool")
