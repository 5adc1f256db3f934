"""Judges that the runs of a sweep share: each is loaded once, and every run's stream sends its blocks there."""

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

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.nodes import beside_driver
from safechain_ray.cluster.pipeline import ROWS_IN_FLIGHT_A_SLOT, StreamSettings, actor_pool, add_pool, resources_of
from safechain_ray.cluster.planner import PlannedPool, PoolNeeds
from safechain_ray.cluster.progress import PoolProgress, ProgressReporter
from safechain_ray.cluster.sample_index import broadcast
from safechain_ray.cluster.workers.judge import EngineJudge
from safechain_ray.errors import EngineStartError
from safechain_ray.types import Part

CLIENT_CPUS = 0.25

BLOCKS_AT_ONCE = 256
"""Blocks that one worker may hold at the same time, from all runs together; its engine queues what it can't do yet."""

MOST_FAILED_STARTS = 3
"""So often in a row a worker's engine may fail to start: a GPU may not be empty yet, or a node be broken."""

PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SharedJudge:
    """A judge's workers, as actors that live as long as the sweep's driver keeps this.

    So do the actors that they ask: `asked` is only there to hold them.
    """

    entry: JudgeEntry
    pool: PlannedPool
    workers: tuple[Any, ...]
    asked: tuple[Any, ...]

    def to_come(self, progress: PoolProgress) -> list[PoolNeeds]:
        """The workers that have no place on the cluster: not yet, or not since their node died."""
        return [self.pool.needs] * max(0, len(self.workers) - progress.standing)


class FailedStarts:
    """How often in a row the engine of each worker has failed to start; an actor, as the workers end of it."""

    def __init__(self) -> None:
        self._failed: Counter[int] = Counter()

    def one_more(self, worker: int) -> int:
        self._failed[worker] += 1
        return self._failed[worker]

    def works(self, worker: int) -> None:
        del self._failed[worker]


class SharedWorker(EngineJudge):
    """A worker that judges the blocks of whoever calls.

    It fetches its arguments: as those of an actor that may be restarted they would not outlive their node. A worker
    whose engine does not start ends, so that Ray starts another, on another node if there is one, and sends its blocks
    there; only after `MOST_FAILED_STARTS` in a row those who call hear of it.
    """

    def __init__(self, number: int, arguments: Any, failed_starts: Any) -> None:
        super().__init__(*ray.get(arguments.fetch.remote()))
        self._number = number
        self._failed_starts = failed_starts
        self._ending = asyncio.Lock()
        self._works = False

    async def judge(self, batch: pa.Table) -> pa.Table:
        try:
            judged = await self(batch)
        except EngineStartError:
            async with self._ending:
                if await self._failed_starts.one_more.remote(self._number) < MOST_FAILED_STARTS:
                    await asyncio.sleep(PAUSE_SECONDS)
                    os._exit(1)
            raise
        if not self._works:
            self._works = True
            self._failed_starts.works.remote(self._number)
        return judged


def share_judge(pool: PlannedPool, entry: JudgeEntry, parts: Sequence[Part], settings: StreamSettings) -> SharedJudge:
    """Start the workers of `pool`; they load while the runs begin."""
    assert entry.engine is not None
    # A worker that dies with its node is started on another one, and the blocks that it held are sent again.
    lasting = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": BLOCKS_AT_ONCE}
    resources = resources_of(pool, settings.accelerator if pool.needs.gpus else None)
    place = resources.pop("ray_remote_args_fn", dict)
    arguments = (
        entry,
        tuple(parts),
        settings.engine_start(pool, entry.engine),
        settings.start_engine,
        settings.max_engine_deaths,
        settings.progress_tracker,
        settings.inflight_tracker,
    )
    held, failed_starts = broadcast(arguments), beside_driver(FailedStarts)
    actor = ray.remote(SharedWorker)
    workers = tuple(
        actor.options(**lasting, **resources, **place()).remote(number, held, failed_starts)
        for number in range(pool.replicas)
    )
    return SharedJudge(
        entry, pool, workers, (held, settings.progress_tracker, settings.inflight_tracker, failed_starts)
    )


class SharedJudgeClient:
    """The place of a shared judge in a run's stream. A call takes a block and returns it with the judge's verdicts.

    Raises the EngineStartError of the last worker, once none is left whose engine could be started.
    """

    def __init__(self, judge: SharedJudge, progress_tracker: Any) -> None:
        self._held = dict.fromkeys(range(len(judge.workers)), 0)
        self._broken: set[int] = set()
        self._workers = judge.workers
        self._name = judge.entry.name
        self._reporter = ProgressReporter(progress_tracker, judge.entry.name)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        self._reporter.add(rows_in=batch.num_rows)
        judged = await self._judged(batch)
        self._reporter.set_ready(True)
        self._reporter.add(rows_out=batch.num_rows, judge_errors=_missing(judged) - _missing(batch))
        self._reporter.report()
        return judged

    async def _judged(self, batch: pa.Table) -> pa.Table:
        while True:
            worker = min(self._held.keys() - self._broken or self._held, key=self._held.__getitem__)
            self._held[worker] += 1
            try:
                judged: pa.Table = await self._workers[worker].judge.remote(batch)
                return judged
            except EngineStartError:
                self._broken.add(worker)
                if len(self._broken) == len(self._workers):
                    raise
            finally:
                self._held[worker] -= 1


def through_shared(samples: Dataset, judge: SharedJudge, settings: StreamSettings) -> Dataset:
    """The samples with the verdicts of a shared judge."""
    running = settings.running(judge.pool) * len(judge.workers)
    in_flight = math.ceil(ROWS_IN_FLIGHT_A_SLOT * running / settings.block_rows)
    pool_arguments = {
        "batch_format": "pyarrow",
        "batch_size": settings.block_rows,
        "num_cpus": CLIENT_CPUS,
        **actor_pool(in_flight, size=1),
    }
    return add_pool(
        samples, SharedJudgeClient, {"judge": judge, "progress_tracker": settings.progress_tracker}, pool_arguments
    )


def _missing(batch: pa.Table) -> int:
    return int(pc.struct_field(pc.list_flatten(batch["verdicts"]), "unsafe").null_count)
