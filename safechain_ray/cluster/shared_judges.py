"""Shared judges of a sweep: each judge is loaded once, and the streams of all runs send their blocks to it."""

import asyncio
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import Dataset

from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.cluster.nodes import beside_driver
from safechain_ray.cluster.pipeline import (
    ROWS_PER_SLOT,
    StreamSettings,
    actor_pool,
    add_pool,
    resources_of,
)
from safechain_ray.cluster.planner import PlannedPool, PoolNeeds
from safechain_ray.cluster.progress import PoolProgress, ProgressReporter
from safechain_ray.cluster.sample_index import broadcast
from safechain_ray.cluster.session import pickle_catalog_code_by_value
from safechain_ray.cluster.workers.judge import EngineJudge
from safechain_ray.errors import EngineStartError
from safechain_ray.judges.base import builder
from safechain_ray.types import NO_FAILURE, Part

CLIENT_CPUS = 0.25

BLOCKS_AT_ONCE = 256
"""Concurrent blocks of one worker, from all runs together. The engine queues the requests that exceed its slots."""

MAX_FAILED_STARTS = 3
"""Consecutive failed starts of a worker's engine before the error is raised. A GPU may not be free yet, or a node is
broken."""

RESTART_DELAY = 10.0


@dataclass(frozen=True, slots=True)
class SharedJudge:
    """Handles of a judge's workers. The actors live as long as the driver keeps this object.

    `dependencies` are the actors that the workers call. They are referenced only to keep them alive.
    """

    entry: JudgeEntry
    pool: PlannedPool
    workers: tuple[Any, ...]
    dependencies: tuple[Any, ...]

    def pending_workers(self, progress: PoolProgress) -> list[PoolNeeds]:
        """The needs of workers that are not placed: they have not started, or their node died."""
        return [self.pool.needs] * max(0, len(self.workers) - progress.placed)


class FailedStarts:
    """Counts consecutive failed starts of each worker's engine; an actor, as the worker ends after a failed start."""

    def __init__(self) -> None:
        self._failed: Counter[int] = Counter()

    def increment(self, worker: int) -> int:
        self._failed[worker] += 1
        return self._failed[worker]

    def reset(self, worker: int) -> None:
        del self._failed[worker]


class SharedWorker(EngineJudge):
    """A worker that judges blocks of all runs.

    1. The worker fetches its arguments from an actor: object references would not outlive their node.
    2. A worker whose engine does not start exits. Ray restarts it, on another node if there is one, and sends its
       blocks again. After `MAX_FAILED_STARTS` in a row the callers receive the error.
    """

    def __init__(self, number: int, arguments: Any, failed_starts: Any) -> None:
        super().__init__(*ray.get(arguments.fetch.remote()))
        self._number = number
        self._failed_starts = failed_starts
        self._ending = asyncio.Lock()
        self._has_started = False

    async def judge(self, batch: pa.Table) -> pa.Table:
        try:
            judged = await self(batch)
        except EngineStartError:
            async with self._ending:
                if await self._failed_starts.increment.remote(self._number) < MAX_FAILED_STARTS:
                    await asyncio.sleep(RESTART_DELAY)
                    os._exit(1)
            raise
        if not self._has_started:
            self._has_started = True
            self._failed_starts.reset.remote(self._number)
        return judged


def start_shared_judge(
    pool: PlannedPool, entry: JudgeEntry, parts: Sequence[Part], settings: StreamSettings
) -> SharedJudge:
    """Start the workers of `pool`. They load while the runs start."""
    assert entry.engine is not None
    # After the death of a node, Ray restarts its workers on other nodes and sends their blocks again.
    persistent_options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": BLOCKS_AT_ONCE}
    resources = resources_of(pool, settings.accelerator if pool.needs.gpus else None)
    placement = resources.pop("ray_remote_args_fn", dict)
    arguments = (
        entry,
        tuple(parts),
        settings.engine_start(pool, entry.engine),
        settings.start_engine,
        settings.max_engine_deaths,
        settings.progress_tracker,
        settings.inflight_tracker,
        builder(entry),
    )
    pickle_catalog_code_by_value()
    holder, failed_starts = broadcast(arguments), beside_driver(FailedStarts)
    actor = ray.remote(SharedWorker)
    workers = tuple(
        actor.options(**persistent_options, **resources, **placement()).remote(number, holder, failed_starts)
        for number in range(pool.replicas)
    )
    return SharedJudge(
        entry, pool, workers, (holder, settings.progress_tracker, settings.inflight_tracker, failed_starts)
    )


class SharedJudgeClient:
    """The worker in a run's stream that forwards blocks to a shared judge, and returns them with its verdicts.

    Raises:
        EngineStartError: No worker of the judge could start its engine.
    """

    def __init__(self, judge: SharedJudge, progress_tracker: Any) -> None:
        self._in_flight = dict.fromkeys(range(len(judge.workers)), 0)
        self._broken: set[int] = set()
        self._workers = judge.workers
        self._name = judge.entry.name
        self._reporter = ProgressReporter(progress_tracker, judge.entry.name)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        self._reporter.add(rows_in=batch.num_rows)
        judged = await self._judge(batch)
        self._reporter.set_ready(True)
        self._reporter.add(rows_out=batch.num_rows, judge_errors=_failed(judged) - _failed(batch))
        self._reporter.report()
        return judged

    async def _judge(self, batch: pa.Table) -> pa.Table:
        while True:
            worker = min(self._in_flight.keys() - self._broken or self._in_flight, key=self._in_flight.__getitem__)
            self._in_flight[worker] += 1
            try:
                judged: pa.Table = await self._workers[worker].judge.remote(batch)
                return judged
            except EngineStartError:
                self._broken.add(worker)
                if len(self._broken) == len(self._workers):
                    raise
            finally:
                self._in_flight[worker] -= 1


def judge_with_shared(samples: Dataset, judge: SharedJudge, settings: StreamSettings) -> Dataset:
    """Add a shared judge to a stream: the samples with its verdicts."""
    running = settings.running(judge.pool) * len(judge.workers)
    in_flight = math.ceil(ROWS_PER_SLOT * running / settings.block_rows)
    pool_arguments = {
        "batch_format": "pyarrow",
        "batch_size": settings.block_rows,
        "num_cpus": CLIENT_CPUS,
        **actor_pool(in_flight, size=1),
    }
    return add_pool(
        samples, SharedJudgeClient, {"judge": judge, "progress_tracker": settings.progress_tracker}, pool_arguments
    )


def _failed(batch: pa.Table) -> int:
    """The verdicts that a judge failed to give. `error` is null for a verdict that is there."""
    error = pc.struct_field(pc.list_flatten(batch["verdicts"]), "error")
    return int(pc.sum(pc.invert(pc.match_substring_regex(error, NO_FAILURE))).as_py() or 0)
