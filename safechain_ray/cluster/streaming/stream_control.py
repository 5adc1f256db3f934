"""Steers a running stream from another thread: stops it, lets its model have more replicas or fewer, or moves one.

Ray Data has no call for either, but asks its callbacks at every step; they find their stream's control by a key in the
stream's own DataContext, so that streams side by side in one driver are steered apart.
"""

import threading
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import ray
from ray.data import Dataset
from ray.data._internal.actor_autoscaler import ActorPoolScalingRequest
from ray.data._internal.execution.execution_callback import ExecutionCallback

from safechain_ray.cluster.ray_internals.preempt_for_starved_pool import end_one_actor
from safechain_ray.cluster.streaming.placement_groups import give_back_groups

KEY = "safechain_steering"
STEER_SECONDS = 0.5

_controls: WeakValueDictionary[str, "StreamControl"] = WeakValueDictionary()


class StreamStoppedError(Exception):
    """Raised inside a stream that was stopped."""


class StreamControl:
    """What other threads may tell the streams of one run, which flow one after the other."""

    def __init__(self) -> None:
        self._key = uuid4().hex
        self._stopped = threading.Event()
        self._over = threading.Event()
        self._allowed: int | None = None
        self._move: tuple[int, int] | None = None
        self._steered = 0.0
        self._actors: list[Any] = []
        self._last_replicas: int | None = None
        _controls[self._key] = self

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    @property
    def last_replicas(self) -> int | None:
        """The replicas with the model's last rows, of which Ray Data ends those without any; None while rows wait."""
        return self._last_replicas

    def stop(self) -> None:
        """Stop for good, at the next step of the stream that flows now or of the next one."""
        self._stopped.set()

    def end_stream(self) -> None:
        """End the stream that flows now, at its next step: its own thread does it, and must be given a moment."""
        self._over.set()

    def forget_actors(self, kill: bool) -> None:
        """Let go of the actors of a stream that has ended; `kill` those of one that failed or was stopped.

        Ray Data itself only forgets them: they would live on while a traceback remembers them, and keep their GPUs from
        other runs.
        """
        for actor in self._actors if kill else ():
            ray.kill(actor)
        self._actors = []

    def set_max_replicas(self, replicas: int) -> None:
        """Let the model's pool have so many replicas at most: it grows while rows wait, and gives back what is more."""
        self._allowed = replicas

    def move_replica(self, donor: int, receiver: int) -> None:
        """End one replica of a pool and start one of another; both are counted in the order of the stream."""
        self._move = donor, receiver

    def attach(self, stream: Dataset) -> None:
        """Steer a stream that is about to flow."""
        self._over.clear()
        self._move = None
        self._last_replicas = None
        stream.context.set_config(KEY, self._key)
        classes = stream.context.custom_execution_callback_classes
        if StreamControlCallback not in classes:
            classes.append(StreamControlCallback)

    def poll(self, executor: Any) -> None:
        """Called by the stream's own thread at every step. Raises StreamStoppedError where it was told to stop."""
        if self._stopped.is_set() or self._over.is_set():
            raise StreamStoppedError("the stream was stopped")
        if time.monotonic() - self._steered < STEER_SECONDS:
            return
        self._steered = time.monotonic()
        give_back_groups()
        pools = [(operator, pool) for operator in executor._topology for pool in operator.get_autoscaling_actor_pools()]
        if self._move is not None:
            donor, receiver = (pools[place] for place in self._move)
            self._move = None
            _move_replica(*donor, receiver[1])
        last_replicas: int | None = 0  # of a stage that only judges
        for operator, pool in pools:
            if "(Replica)" not in operator.name:
                continue
            rows_wait = executor._topology[operator].total_enqueued_input_blocks() > 0
            last_replicas = pool.current_size() if operator._inputs_complete and not rows_wait else None
            if self._allowed is not None:
                _size(pool, max(self._allowed, pool.min_size()), rows_wait)
        self._last_replicas = last_replicas
        self._actors = [actor for _, pool in pools for actor in (*pool._running_actors, *pool._pending_actors.values())]


def _size(pool: Any, replicas: int, rows_wait: bool) -> None:
    """Let a pool have so many actors, and start those that are missing while rows wait for them.

    Ray Data's own autoscaler ends idle actors above the size, and starts some once those there are nearly full; here
    the missing ones are started at once.
    """
    pool._config = replace(pool._config, max_size=replicas)
    missing = replicas - pool.current_size()
    if rows_wait and missing > 0:
        pool.scale(ActorPoolScalingRequest.upscale(delta=missing, reason="the sweep has room"))


def _move_replica(donor_operator: Any, donor: Any, receiver: Any) -> None:
    """The new replica waits for its GPU until Ray has ended the old one."""
    if not end_one_actor(donor_operator):
        return
    donor._config = replace(donor._config, max_size=donor.max_size() - 1)
    receiver._config = replace(receiver._config, max_size=receiver.max_size() + 1)
    receiver.scale(ActorPoolScalingRequest.upscale(delta=1, reason="a GPU has moved to this pool"))


class StreamControlCallback(ExecutionCallback):  # type: ignore[misc]
    """Hands every step of a stream to its control."""

    def on_execution_step(self, executor: Any) -> None:
        control = _controls.get(executor._data_context.get_config(KEY, ""))
        if control is not None:
            control.poll(executor)
