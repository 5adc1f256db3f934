"""Ray Data settings of one stream, in the DataContext of its own data set.

A data set copies the process-wide DataContext when it is created, and all data sets derived from it share that copy
(`Dataset.context`). The settings are written there: other Ray Data jobs of the process keep theirs. The context manager
`DataContext.current` would not do, as it replaces a global that all threads of the process read.

Preempts an actor of the largest pool for a pool that lost its last actor and finds no GPU.

When a judge's only node dies, replicas of the model may hold every GPU that is left. They would wait for the judge's
verdicts and the judge for a GPU, for ever.

Delays a block's completion until the block is replicated to the driver's node.

A block whose only copy is lost with its node must be made again, by the actor that made it. Ray Data waits until that
actor has started elsewhere, for which there may be no GPU, and everything behind the block waits as well. A block that
is not replicated yet is requeued with the others (`requeue_on_drain`).

Requeues the blocks of an actor whose node died or is draining, so that the other actors of its pool take them.

Ray Data gives such an actor no new blocks. Those that it has stay with it until it has started elsewhere, for which it
may wait long for a GPU, while other actors have room.

Callbacks from Ray Data's scheduling loop, and the poll of a stream's control at every step of the loop.

Ray Data creates callbacks from classes, without arguments. A callback finds the control of its stream by a key in the
DataContext of the stream's data set, so that streams side by side in one driver are controlled apart.
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

try:
    from ray.data._internal.execution.execution_callback import ExecutionCallback
except ImportError:  # the hooks are off then
    ExecutionCallback = object

CALLBACKS: Needs = (
    ("ray.data.context", "DataContext.custom_execution_callback_classes"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.before_execution_starts"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.on_execution_step"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.after_execution_succeeds"),
    ("ray.data._internal.execution.execution_callback", "ExecutionCallback.after_execution_fails"),
)

"""Public ways looked for: `DataContext.custom_execution_callback_classes` is public; the base class of its members and
what they are called with are not. `Dataset.iter_batches` returns between committed blocks only, minutes apart."""

STREAM_CONTROL = Hook(
    "stream control",
    "a run that is stopped ends at its next committed block, and engines of a failed run keep their GPUs until its "
    "command ends",
    (*CALLBACKS, *READ_POOLS),
)

CONTROL_KEY = "safechain_control"

_controls: "WeakValueDictionary[str, Control]" = WeakValueDictionary()


class Control(Protocol):
    """What is polled by the thread that runs a stream. An error that `poll` raises ends the stream."""

    def poll(self, pools: Sequence[ActorPool]) -> None: ...


class StreamCallback(ExecutionCallback):  # type: ignore[misc]
    """Base class of callbacks: Ray Data's own, whose methods do nothing, where the installed Ray has it."""


class PollControl(StreamCallback):
    """Polls the control of its stream at every step."""

    def on_execution_step(self, executor: Any) -> None:
        control = _controls.get(executor._data_context.get_config(CONTROL_KEY, ""))
        if control is not None:
            control.poll(pools_of(executor))


def attach(stream: Dataset, control: Control) -> bool:
    """Have `control` polled while `stream` runs; the caller keeps it alive. False where the hook is off."""
    if not STREAM_CONTROL.is_on():
        return False
    key = uuid4().hex
    _controls[key] = control
    stream.context.set_config(CONTROL_KEY, key)
    stream.context.custom_execution_callback_classes.append(PollControl)
    return True


REQUEUE_ON_DRAIN = Hook(
    "requeue on drain",
    "rows of a drained node are recomputed only after the node is gone, by the replica that had them",
    (*CALLBACKS, *READ_POOLS, *REQUEUE_TASKS),
)

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


_FETCHER = "ray.data._internal.execution.metadata_fetcher"

REPLICATE_TO_DRIVER = Hook(
    "replication to the driver",
    "when a node dies, rows that it finished and that no other node has are computed again, and rows behind them wait "
    "for a GPU to do it",
    (
        *CALLBACKS,
        ("ray.data._internal.execution.streaming_executor", "StreamingExecutor._metadata_fetcher"),
        (_FETCHER, "MetadataFetcher.in_data_ready_get_object_size"),
        ("ray.data._internal.execution.interfaces.physical_operator", "DataOpTask.pending_block_ref"),
    ),
)

"""Public ways looked for: `ExecutionOptions` has no replication. `iter_batches(prefetch_batches=...)` fetches blocks of
the last operator only. `ray.wait(fetch_local=True)` copies a block; no public call delays the block until then."""

COPIERS = 8

COPY_TIMEOUT = 5.0

"""A copy that takes longer is begun again, if its block is still wanted."""


class ReplicateToDriver(StreamCallback):
    """Delays the blocks of one stream until they are on the driver's node."""

    def __init__(self) -> None:
        self._copiers = ThreadPoolExecutor(COPIERS, thread_name_prefix="copier")
        self._copying: dict[ray.ObjectRef, Future[Any]] = {}

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
        copying = self._copying.get(block)
        if copying is not None and not copying.done():
            return False
        self._copying.pop(block, None)
        local, _ = ray.wait([block], timeout=0, fetch_local=True)
        if not local:
            self._copying[block] = self._copiers.submit(ray.wait, [block], timeout=COPY_TIMEOUT, fetch_local=True)
        return bool(local)


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


SOURCE_BUFFER_BLOCKS = 32

"""Blocks that the task at the source may make ahead. The driver takes what is there in each of its six or seven steps a
second: of Ray Data's 2, that made 13 blocks/s for all replicas together (bench/scaling.py)."""

SOURCE_BUFFER = Hook(
    "source buffer",
    "a stream starts at most 13 blocks a second, for all replicas together",
    (("ray.data.context", "DataContext._max_num_blocks_in_streaming_gen_buffer"),),
)

"""Public way looked for: no public field of DataContext and no argument of `map_batches` sets this buffer."""

CALLBACKS_OF_HOOKS = (
    (REPLICATE_TO_DRIVER, ReplicateToDriver),
    (REQUEUE_ON_DRAIN, RequeueOnDrain),
    (PREEMPT_FOR_STARVED_POOL, PreemptForStarvedPool),
)


def configure(source: Dataset) -> Dataset:
    """The data set, with the settings of a stream in its own DataContext; for a data set that was just created."""
    context = source.context
    _set_options(context)
    context.custom_execution_callback_classes += [callback for hook, callback in CALLBACKS_OF_HOOKS if hook.is_on()]
    if SOURCE_BUFFER.is_on():
        context._max_num_blocks_in_streaming_gen_buffer = SOURCE_BUFFER_BLOCKS
    return source


def _set_options(context: DataContext) -> None:
    """Quiet, with the project's own progress and watchdog in place of Ray Data's."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1
    context.wait_for_min_actors_s = -1
    # An engine that can't start now won't start on the next attempt either: fail with its log at once.
    context.max_consecutive_actor_init_deaths = 0
    # A pool that lost an actor grows back to its size. Blocks queue outside of the actors, so 1 is the most there is.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 0.9
    context.raise_original_map_exception = True
    context.downstream_capacity_backpressure_ratio = 2.0
    context.execution_options.preserve_order = False
    context.memory_usage_poll_interval_s = None  # it starts a thread a task, for figures that nothing here reads
    # One asks for a pool's `ray_remote_args_fn` beside the actors: a placement group that holds GPUs for nobody.
    context.issue_detectors_config.detectors = []
