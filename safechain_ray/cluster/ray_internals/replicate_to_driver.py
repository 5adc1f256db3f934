"""Delays a block's completion until the block is replicated to the driver's node.

A block whose only copy is lost with its node must be made again, by the actor that made it. Ray Data waits until that
actor has started elsewhere, for which there may be no GPU, and everything behind the block waits as well. A block that
is not replicated yet is requeued with the others (`requeue_on_drain`).
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

from safechain_ray.cluster.ray_internals.hooks import Hook
from safechain_ray.cluster.ray_internals.stream_callback import CALLBACKS, StreamCallback

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
COPY_SECONDS = 5.0
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
            self._copying[block] = self._copiers.submit(ray.wait, [block], timeout=COPY_SECONDS, fetch_local=True)
        return bool(local)
