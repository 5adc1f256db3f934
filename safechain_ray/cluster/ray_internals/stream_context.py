"""Ray Data settings and callbacks of one stream, in the DataContext of the stream's own data set.

A data set copies the process-wide DataContext when it is created, and derived data sets share that copy
(`Dataset.context`). So other Ray Data jobs of the process keep their settings. The context manager
`DataContext.current` would not do, as it replaces a global that all threads of the process read.

Ray Data calls the callbacks at every step of a stream, in the thread that runs the stream:

1. `PollControl` polls the control of the stream, which stops it or changes its pools.
2. `ReplicateToDriver` delays a block's completion until the block is replicated to the driver's node.
3. `RequeueOnDrain` requeues the blocks of actors whose node died or is draining.
4. `PreemptForStarvedPool` ends an actor of the largest pool for a pool that finds no GPU for its last actor.

Ray Data creates callbacks from classes, without arguments. A callback finds the control of its stream by a key in the
DataContext of the data set, so that streams of one driver are controlled separately.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

import ray
from ray.actor import ActorHandle
from ray.data import DataContext, Dataset

from safechain_ray.cluster.nodes import staying_gpus, staying_nodes
from safechain_ray.cluster.ray_internals.actor_pools import (
    END_ACTORS,
    READ_POOLS,
    REQUEUE_TASKS,
    ActorPool,
    actor_id,
    pools_of,
)
from safechain_ray.cluster.ray_internals.cluster_state import draining_nodes
from safechain_ray.cluster.ray_internals.hooks import Hook, Needs
from safechain_ray.cluster.session import pickle_catalog_code_by_value

try:
    from ray.data._internal.execution.execution_callback import ExecutionCallback
except ImportError:  # the hooks are off then
    ExecutionCallback = object

CONTROL_KEY = "safechain_control"

POLL_INTERVAL = 1.0
"""Seconds between two polls of the nodes and of the pools."""

GRACE_PERIOD = 120.0
"""Seconds that a starved pool waits before another pool is preempted. A node may be joining, or Ray Data's state of the
actors be late."""

COPIERS = 8

COPY_TIMEOUT = 5.0
"""Seconds after which a copy is started again, if its block is still needed."""

SOURCE_BUFFER_BLOCKS = 32
"""Blocks that the source's task may produce ahead. The driver fetches blocks in each of its six or seven steps a
second. With Ray Data's 2 blocks a stream started 13 blocks/s, for all replicas together (bench/scaling.py)."""

CALLBACKS: Needs = (
    ("ray.data.context", "DataContext.custom_execution_callback_classes"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.before_execution_starts"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.on_execution_step"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.after_execution_succeeds"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.after_execution_fails"),
)
"""Public API looked for: `DataContext.custom_execution_callback_classes` is public. The base class of its members and
their arguments are private. `Dataset.iter_batches` returns only between committed blocks, minutes apart."""

STREAM_CONTROL = Hook(
    "stream control",
    "a run that is stopped ends at its next committed block, and engines of a failed run keep their GPUs until its "
    "command ends",
    (*CALLBACKS, *READ_POOLS),
)
"""Public API looked for: see CALLBACKS and READ_POOLS."""

REPLICATE_TO_DRIVER = Hook(
    "replication to the driver",
    "when a node dies, rows that it finished and that no other node has are computed again, and rows behind them wait "
    "for a GPU to do it",
    (
        *CALLBACKS,
        ("ray.data._internal.execution.streaming_executor", "StreamingExecutor._metadata_fetcher"),
        ("ray.data._internal.execution.metadata_fetcher", "MetadataFetcher.in_data_ready_get_object_size"),
        ("ray.data._internal.execution.interfaces.physical_operator", "DataOpTask.pending_block_ref"),
    ),
)
"""Public API looked for: `ExecutionOptions` has no replication. `iter_batches(prefetch_batches=...)` fetches blocks of
the last operator only. `ray.wait(fetch_local=True)` copies a block; no public call delays the block until then."""

REQUEUE_ON_DRAIN = Hook(
    "requeue on drain",
    "rows of a drained node are recomputed only after the node is gone, by the replica that had them",
    (*CALLBACKS, *READ_POOLS, *REQUEUE_TASKS),
)
"""Public API looked for: see REQUEUE_TASKS."""

PREEMPT_FOR_STARVED_POOL = Hook(
    "preemption for a starved pool",
    "a judge whose last node died waits until another node joins, though replicas of the model hold GPUs",
    (*CALLBACKS, *READ_POOLS, *END_ACTORS),
)
"""Public API looked for: see END_ACTORS."""

SOURCE_BUFFER = Hook(
    "source buffer",
    "a stream starts at most 13 blocks a second, for all replicas together",
    (("ray.data.context", "DataContext._max_num_blocks_in_streaming_gen_buffer"),),
)
"""Public API looked for: no public field of DataContext and no argument of `map_batches` sets this buffer."""

_controls: "WeakValueDictionary[str, Control]" = WeakValueDictionary()


def configure(source: Dataset) -> Dataset:
    """Write the settings of a stream to the data set's own DataContext; for a data set that was just created."""
    pickle_catalog_code_by_value()
    context = source.context
    _set_options(context)
    context.custom_execution_callback_classes += [callback for hook, callback in CALLBACKS_OF_HOOKS if hook.is_on()]
    if SOURCE_BUFFER.is_on():
        context._max_num_blocks_in_streaming_gen_buffer = SOURCE_BUFFER_BLOCKS
    return source


def _set_options(context: DataContext) -> None:
    """Turn off Ray Data's output, as the project has its own progress and watchdog, and set its scheduling."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1
    context.wait_for_min_actors_s = -1
    # An engine that can't start now won't start at the next attempt either: fail at once, with the engine's log.
    context.max_consecutive_actor_init_deaths = 0
    # A pool that lost an actor grows back to its size. Blocks queue outside of the actors, so utilization is at most 1.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 0.9
    context.raise_original_map_exception = True
    context.downstream_capacity_backpressure_ratio = 2.0
    context.execution_options.preserve_order = False
    context.memory_usage_poll_interval_s = None  # otherwise each task has a thread, for figures that are not read
    # One detector calls a pool's `ray_remote_args_fn` again: its placement group would hold GPUs without an actor.
    context.issue_detectors_config.detectors = []


class Control(Protocol):
    """A control that the thread of a stream polls. An error that `poll` raises ends the stream."""

    def poll(self, pools: Sequence[ActorPool]) -> None: ...


def attach(stream: Dataset, control: Control) -> bool:
    """Poll `control` while `stream` runs; the caller keeps it alive. False where the hook is off."""
    if not STREAM_CONTROL.is_on():
        return False
    key = uuid4().hex
    _controls[key] = control
    stream.context.set_config(CONTROL_KEY, key)
    stream.context.custom_execution_callback_classes.append(PollControl)
    return True


class StreamCallback(ExecutionCallback):  # type: ignore[misc]
    """Base class of callbacks: Ray Data's own, whose methods do nothing, where the installed Ray has it."""


class PollControl(StreamCallback):
    """Polls the control of its stream at every step."""

    def on_execution_step(self, executor: Any) -> None:
        control = _controls.get(executor._data_context.get_config(CONTROL_KEY, ""))
        if control is not None:
            control.poll(pools_of(executor))


class ReplicateToDriver(StreamCallback):
    """Delays a block's completion until it is replicated to the driver's node.

    Otherwise the loss of a node would lose the only copy of a block. The actor that produced the block would have to
    restart and recompute it, and may wait for a GPU, while all rows behind the block wait too. `RequeueOnDrain`
    requeues a block that is not replicated yet.
    """

    def __init__(self) -> None:
        self._copiers = ThreadPoolExecutor(COPIERS, thread_name_prefix="copier")
        self._copies: dict[ray.ObjectRef, Future[Any]] = {}

    def before_execution_starts(self, executor: Any) -> None:
        fetcher = executor._metadata_fetcher
        emit = fetcher.in_data_ready_get_object_size

        def emit_when_local(task: Any) -> int | None:
            size: int | None = emit(task) if self._is_local(task.pending_block_ref) else None
            return size

        fetcher.in_data_ready_get_object_size = emit_when_local

    def after_execution_succeeds(self, executor: Any) -> None:
        self._copiers.shutdown(wait=False, cancel_futures=True)

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        self._copiers.shutdown(wait=False, cancel_futures=True)

    def _is_local(self, block: ray.ObjectRef) -> bool:
        """Whether the block is on this node; starts a copy otherwise."""
        copy = self._copies.get(block)
        if copy is not None and not copy.done():
            return False
        self._copies.pop(block, None)
        local, _ = ray.wait([block], timeout=0, fetch_local=True)
        if not local:
            self._copies[block] = self._copiers.submit(ray.wait, [block], timeout=COPY_TIMEOUT, fetch_local=True)
        return bool(local)


class RequeueOnDrain(StreamCallback):
    """Requeues the blocks of actors whose node died or is draining, so that other actors of the pool process them.

    Ray Data sends such an actor no new blocks. But the blocks that it has would wait until the actor has restarted
    elsewhere. That may take long without a free GPU, while other actors are idle.
    """

    def __init__(self) -> None:
        self._polled = 0.0
        # Ids: a handle would keep an actor alive that Ray Data has released, and its GPU with it.
        self._moved: set[tuple[ray.ActorID, str]] = set()

    def on_execution_step(self, executor: Any) -> None:
        pools = pools_of(executor)
        if time.monotonic() - self._polled >= POLL_INTERVAL:
            self._polled = time.monotonic()
            staying, draining = staying_nodes(), draining_nodes()
            for pool in pools:
                self._requeue(pool, staying, draining)
        for pool in pools:
            pool.dispatch_queued()

    def _requeue(self, pool: ActorPool, staying: frozenset[str], draining: frozenset[str]) -> None:
        leaving = dict(self._leaving(pool, staying, draining))
        if not leaving or not pool.active_actors - leaving.keys():
            return
        pool.requeue_tasks(leaving.keys())
        for actor, node in leaving.items():
            if node in draining:
                # Ray restarts the actor on a staying node once there is one. Until then it has no blocks.
                self._moved.add((actor_id(actor), node))
                ray.kill(actor, no_restart=False)

    def _leaving(
        self, pool: ActorPool, staying: frozenset[str], draining: frozenset[str]
    ) -> Iterator[tuple[ActorHandle, str]]:
        """Actors that do not return to their node, with that node.

        A running actor on a dead node has restarted elsewhere already: Ray Data learns its new node a little later.
        """
        for actor, (node, is_restarting) in pool.placements.items():
            if node in staying or (actor_id(actor), node) in self._moved:
                continue
            if node in draining or is_restarting:
                yield actor, node


class PreemptForStarvedPool(StreamCallback):
    """Ends an actor of the largest pool for a pool that lost its last actor and finds no GPU.

    When a judge's only node dies, replicas of the model may hold all remaining GPUs. This is a deadlock: they wait for
    the judge's verdicts, and the judge waits for a GPU.
    """

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
                # Ray Data lets the preempted pool grow back as soon as the cluster has a free GPU.
                max(others, key=lambda other: len(other.active_actors)).end_one_actor()


def _is_starved(pool: ActorPool, others: Sequence[ActorPool]) -> bool:
    """Whether `pool` has no active actor, and the other pools leave too few GPUs for one."""
    needs = pool.gpus_per_actor
    if not needs or pool.active_actors:
        return False
    taken = sum(len(other.active_actors) * other.gpus_per_actor for other in others)
    return bool(taken and staying_gpus() - taken < needs)


CALLBACKS_OF_HOOKS = (
    (REPLICATE_TO_DRIVER, ReplicateToDriver),
    (REQUEUE_ON_DRAIN, RequeueOnDrain),
    (PREEMPT_FOR_STARVED_POOL, PreemptForStarvedPool),
)
