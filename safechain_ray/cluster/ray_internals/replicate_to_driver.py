"""Lets a pool's block count as made only once a copy of it stands on the driver's node.

A block whose only copy is lost with its node must be made again, by the actor that made it: Ray Data would wait until
that has started elsewhere, for which there may be no GPU, and everything behind the block would wait as well. A block
that is not yet copied goes back to the pool with the others (`safechain_ray.cluster.ray_internals.requeue_on_drain`).
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
from ray.data._internal.execution.execution_callback import ExecutionCallback

COPIERS = 8
COPY_SECONDS = 5.0
"""A copy that takes longer is begun again, if its block is still wanted."""


class ReplicateToDriver(ExecutionCallback):  # type: ignore[misc]
    """Holds back the blocks of one stream until they are near."""

    def __init__(self) -> None:
        self._copiers = ThreadPoolExecutor(COPIERS, thread_name_prefix="copier")
        self._copying: dict[ray.ObjectRef, Future[Any]] = {}

    def before_execution_starts(self, executor: Any) -> None:
        fetcher = executor._metadata_fetcher
        emit = fetcher.in_data_ready_get_object_size

        def emit_when_near(task: Any) -> int | None:
            size: int | None = emit(task) if self._is_near(task.pending_block_ref) else None
            return size

        fetcher.in_data_ready_get_object_size = emit_when_near

    def after_execution_succeeds(self, executor: Any) -> None:
        self._copiers.shutdown(wait=False, cancel_futures=True)

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        self._copiers.shutdown(wait=False, cancel_futures=True)

    def _is_near(self, block: ray.ObjectRef) -> bool:
        copying = self._copying.get(block)
        if copying is not None and not copying.done():
            return False
        self._copying.pop(block, None)
        near, _ = ray.wait([block], timeout=0, fetch_local=True)
        if not near:
            self._copying[block] = self._copiers.submit(ray.wait, [block], timeout=COPY_SECONDS, fetch_local=True)
        return bool(near)
