"""Ray Data pipelines: sample numbers or stored samples flow through the pools of a stage into Parquet files.

`Watchdog` ends a stream without progress, with an error that names the pool that is stuck.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset, TaskPoolStrategy
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry, EngineNeeds, Family, ModelEntry
from safechain_ray.catalog.judge_entries import JudgeEntry, judging_api
from safechain_ray.cluster.placement_groups import new_group
from safechain_ray.cluster.planner import PlannedPool
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.ray_internals.actor_pools import declare_pool
from safechain_ray.cluster.ray_internals.stream_context import configure
from safechain_ray.cluster.sample_index import SampleIndex, broadcast
from safechain_ray.cluster.session import cluster_address
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.cluster.workers.generator import GeneratorWorker, decodings_of, with_thinking_tags
from safechain_ray.cluster.workers.grader import BlockGrader
from safechain_ray.cluster.workers.inflight_tracker import start_inflight_tracker
from safechain_ray.cluster.workers.judge import EndpointJudge, EngineJudge, PartsOrPieces, RulesAndVotes
from safechain_ray.cluster.workers.pair_judge import REQUESTS_A_PAIR, PairJudgeWorker, PairReader, StoredPair
from safechain_ray.cluster.workers.writer import BlockWriter
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.engines.start import RUNNING, EngineStart, StartEngine
from safechain_ray.engines.vllm_environment import path_with_own_programs
from safechain_ray.errors import StallError
from safechain_ray.judges.base import builder
from safechain_ray.storage import Folder
from safechain_ray.types import Part, as_samples, filter_by_ids, without_verdicts

ROWS_PER_SLOT = 2.0
"""Rows in flight for each request that an engine decodes at once. A finished row waits for the slowest row of its
block: at 1.5 an engine of 256 slots was idle at times, at 2 it never was (bench/throughput.py)."""

MAX_CALLS = "max_concurrent_calls_per_actor"
"""A parameter of ActorPoolStrategy since Ray 2.59."""

ACCELERATOR_SHARE = 0.001
"""The part of a node's one `accelerator_type:…` resource that Ray's own `accelerator_type` option requests."""


@dataclass(frozen=True)
class StreamSettings:
    """Settings that all pools of a stream share."""

    start_engine: StartEngine
    log_folder: Path
    max_running: int | None
    cpu_kv_cache_gigabytes: float
    block_rows: int
    max_engine_deaths: int
    progress_tracker: Any
    inflight_tracker: Any
    accelerator: str | None = None
    batch_invariant: bool = False
    max_cost: float | None = None
    max_requests: int | None = None

    @classmethod
    def of(
        cls, resources: ResourcesConfig, start_engine: StartEngine, log_folder: Path, progress_tracker: Any
    ) -> "StreamSettings":
        return cls(
            start_engine=start_engine,
            log_folder=log_folder,
            max_running=resources.max_running,
            cpu_kv_cache_gigabytes=resources.cpu_kv_cache_gigabytes,
            block_rows=resources.block_rows,
            max_engine_deaths=resources.max_engine_deaths,
            progress_tracker=progress_tracker,
            inflight_tracker=start_inflight_tracker(),
            accelerator=resources.accelerator,
            batch_invariant=resources.batch_invariant,
            max_cost=resources.max_cost,
            max_requests=resources.max_requests,
        )

    def engine_start(self, pool: PlannedPool, needs: EngineNeeds) -> EngineStart:
        fit = pool.needs.fit
        return EngineStart(
            needs=needs if fit is None else needs.spread(fit.sizes, fit.context_length),
            device=pool.needs.device,
            log_file=self.log_folder / f"safechain-engine-{pool.needs.pool}.log",
            kv_cache_gigabytes=self.cpu_kv_cache_gigabytes,
            max_running=self.running(pool),
            executor=pool.executor,
            batch_invariant=self.batch_invariant,
            memory_share=fit.memory_share if fit is not None and pool.needs.shares_a_gpu else None,
        )

    def api_start(self, entry: ApiEntry) -> ApiStart:
        tags = catalog.family_of(entry).tags
        return ApiStart(entry, self.max_running or RUNNING, self.max_cost, self.max_requests, tags)

    def running(self, pool: PlannedPool) -> int:
        """Concurrency of one replica: the requests that its engine decodes at once."""
        return self.max_running or pool.running


def numbers_to_generate(numbers: Sequence[int], block_rows: int) -> Dataset:
    """Sample numbers in blocks of `block_rows`: Ray Data moves, retries and commits whole blocks."""
    source = configure(ray.data.from_arrow(pa.table({"number": pa.array(numbers, pa.int64())})))
    return source.repartition(target_num_rows_per_block=block_rows)


def stored_samples(folder: Folder, waiting: Mapping[str, str], block_rows: int) -> Dataset:
    """Samples that an earlier stage committed, in blocks of `block_rows` to `2 * block_rows - 1` rows.

    `waiting` maps the ids of the samples to their files.
    """
    files: dict[str, list[str]] = {}
    for sample_id, name in waiting.items():
        files.setdefault(name, []).append(sample_id)
    items = [{"file": name, "sample_ids": sample_ids} for name, sample_ids in files.items()]

    def read(batch: pa.Table) -> pa.Table:
        tables = [
            filter_by_ids(as_samples(folder.read_parquet(row["file"])), row["sample_ids"]) for row in batch.to_pylist()
        ]
        return pa.concat_tables(tables)

    source = configure(ray.data.from_items(items, override_num_blocks=len(items)))
    return source.map_batches(read, **_whole_blocks()).repartition(target_num_rows_per_block=block_rows)


def unjudged(samples: Dataset) -> Dataset:
    """The samples without their verdicts, to be judged again."""
    return samples.map_batches(without_verdicts, **_whole_blocks())


def generate(
    numbers: Dataset,
    pool: PlannedPool,
    model: ModelEntry | ApiEntry,
    family: Family,
    sample_specs: SampleIndex,
    settings: StreamSettings,
) -> Dataset:
    """The model's pool: samples without verdicts, from sample numbers."""
    arguments: dict[str, Any] = {
        "model": model.name,
        "family": family,
        "sample_specs": broadcast(sample_specs),
        "decodings": decodings_of(sample_specs.settings, family, model),
        **_engine_of(model, pool, settings),
        "max_deaths": settings.max_engine_deaths,
        "progress_tracker": settings.progress_tracker,
        "inflight_tracker": settings.inflight_tracker,
    }
    arguments["start"] = with_thinking_tags(arguments["start"], sample_specs.settings, family)
    pool_arguments = _pool_arguments(pool, settings, settings.running(pool))
    return add_pool(numbers, GeneratorWorker, arguments, pool_arguments, generates=True)


def _engine_of(model: EngineNeeds | ApiEntry, pool: PlannedPool, settings: StreamSettings) -> dict[str, Any]:
    if isinstance(model, ApiEntry):
        return {"start": settings.api_start(model), "start_engine": start_api}
    return {"start": settings.engine_start(pool, model), "start_engine": settings.start_engine}


def judge(
    samples: Dataset,
    pool: PlannedPool,
    entry: JudgeEntry,
    parts: PartsOrPieces,
    settings: StreamSettings,
) -> Dataset:
    """The pool of a judge with an engine or an endpoint: adds its verdicts to the samples."""
    arguments: dict[str, Any] = {
        "entry": entry,
        "parts": parts,
        "progress_tracker": settings.progress_tracker,
        "build": builder(entry),
    }
    if entry.endpoint is not None:
        arguments["key"] = entry.endpoint.api_key()
        # At least a block, so that a second block fills the slots that the last rows of the first block leave.
        pool_arguments = _pool_arguments(pool, settings, max(entry.endpoint.max_concurrent, settings.block_rows))
        if not entry.calls_chat_api:
            return add_pool(samples, EndpointJudge, arguments, pool_arguments)
    else:
        pool_arguments = _pool_arguments(pool, settings, settings.running(pool))
    arguments |= {
        **_engine_of(entry.engine or judging_api(entry), pool, settings),
        "max_deaths": settings.max_engine_deaths,
        "inflight_tracker": settings.inflight_tracker,
    }
    return add_pool(samples, EngineJudge, arguments, pool_arguments)


def stored_pairs(reader: PairReader, waiting: Sequence[StoredPair], block_rows: int) -> Dataset:
    """Pairs of samples of two runs, in blocks of `block_rows`. Pairs from the same file stay together."""
    ordered = sorted(waiting, key=lambda pair: (pair.file, pair.file_b))
    blocks = [ordered[start : start + block_rows] for start in range(0, len(ordered), block_rows)]
    items = [{"pairs": [asdict(pair) for pair in block]} for block in blocks]
    source = configure(ray.data.from_items(items, override_num_blocks=len(items)))
    return source.map_batches(reader.__call__, **_whole_blocks())


def prefer(
    pairs: Dataset, pool: PlannedPool, entry: JudgeEntry, parts: tuple[Part, Part], settings: StreamSettings
) -> Dataset:
    """The pool of a preference judge: decides each pair. `parts` are the compared parts of A and of B."""
    model = entry.engine or judging_api(entry)
    arguments = {
        "entry": entry,
        "parts": parts,
        **_engine_of(model, pool, settings),
        "max_deaths": settings.max_engine_deaths,
        "key": None if entry.endpoint is None else entry.endpoint.api_key(),
        "progress_tracker": settings.progress_tracker,
        "inflight_tracker": settings.inflight_tracker,
    }
    running = settings.running(pool) if entry.endpoint is None else entry.endpoint.max_concurrent
    pool_arguments = _pool_arguments(pool, settings, max(1, running // REQUESTS_A_PAIR))
    return add_pool(pairs, PairJudgeWorker, arguments, pool_arguments)


def grade(samples: Dataset, grading: BlockGrader, ray_address: str | None) -> Dataset:
    """The samples with their grades: one task for each block, one CPU for each task.

    On a local Ray the concurrency is the machine's CPU count, as a local Ray counts more CPUs than the machine has.
    """
    at_once = os.cpu_count() if cluster_address(ray_address) is None else None
    strategy = TaskPoolStrategy(size=at_once)
    return samples.map_batches(grading.__call__, batch_format="pyarrow", batch_size=None, compute=strategy, num_cpus=1)


def commit(
    samples: Dataset, last_verdicts: RulesAndVotes | None, writer: BlockWriter, control: StreamControl
) -> Iterator[Mapping[str, int]]:
    """Run the stream, and give the counts of each block as soon as `writer` has committed its file.

    `last_verdicts` adds verdicts of rules and votes before the commit; None where a later stage follows.
    """
    judged = samples if last_verdicts is None else samples.map_batches(last_verdicts.__call__, **_whole_blocks())
    committed = judged.map_batches(writer.__call__, **_whole_blocks())
    control.attach(committed)
    # Without prefetching: an iterator that buffers a block looks like a slow consumer, and backpressure delays commits.
    for counts in committed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from counts.to_pylist()
        control.check_after_block()


def add_pool(
    rows: Dataset, worker: type, arguments: dict[str, Any], pool_arguments: dict[str, Any], generates: bool = False
) -> Dataset:
    """Add an actor pool of `worker(**arguments)` to the stream. `generates` marks the model's pool."""
    declare_pool(rows, generates)
    return rows.map_batches(worker, fn_constructor_kwargs=arguments, **pool_arguments)


def actor_pool(in_flight: int, **sizes: int) -> dict[str, Any]:
    """Arguments of `map_batches` for actors that run up to `in_flight` batches at once, and queue no others.

    Before Ray 2.59 ActorPoolStrategy has no parameter for the number: it is the actor option `max_concurrency`. Newer
    releases warn about actor options, and set this one from the parameter.

    Args:
        in_flight: Batches that one actor holds.
        sizes: `size`, or `min_size`, `max_size` and `initial_size`, as ActorPoolStrategy takes them.
    """
    calls = {MAX_CALLS: in_flight} if MAX_CALLS in signature(ActorPoolStrategy).parameters else {}
    options = {} if calls else {"max_concurrency": in_flight}
    return {"compute": ActorPoolStrategy(max_tasks_in_flight_per_actor=in_flight, **sizes, **calls), **options}


def _whole_blocks() -> dict[str, Any]:
    """Options of the tasks that read and commit.

    1. A batch is a whole block (batch_size=None). With a batch size Ray Data would collect rows first and commit late.
    2. Few tasks run at a time: a worker process needs seconds for imports, and a commit takes milliseconds.
    """
    few = TaskPoolStrategy(size=max(2, int(ray.cluster_resources().get("CPU", 0)) // 8))
    return {"batch_format": "pyarrow", "batch_size": None, "compute": few}


def _pool_arguments(pool: PlannedPool, settings: StreamSettings, running: int) -> dict[str, Any]:
    """Options of an actor pool: one batch for each block, and blocks in flight for `running` requests of a worker."""
    in_flight = math.ceil(ROWS_PER_SLOT * running / settings.block_rows)
    return {
        "batch_format": "pyarrow",
        "batch_size": settings.block_rows,
        **actor_pool(in_flight, min_size=1, max_size=pool.replicas, initial_size=pool.replicas),
        **resources_of(pool, settings.accelerator if pool.needs.gpus else None),
    }


def resources_of(pool: PlannedPool, accelerator: str | None) -> dict[str, Any]:
    """Ray resources of an actor of the pool."""
    needs = pool.needs
    if pool.executor == "mp":
        return {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "accelerator_type": accelerator}

    def placement_group_options() -> dict[str, Any]:
        kind = {f"accelerator_type:{accelerator}": ACCELERATOR_SHARE} if accelerator else {}
        group = new_group({"GPU": 1, "CPU": needs.cpus / needs.gpus, **kind}, int(needs.gpus))
        return {
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
        }

    # vLLM's actors on other nodes inherit the runtime environment of this actor, not the PATH of its process.
    path = path_with_own_programs("${PATH}")
    return {
        "num_cpus": 0,
        "num_gpus": 0,
        "ray_remote_args_fn": placement_group_options,
        "runtime_env": {"env_vars": {"PATH": path}},
    }


class Watchdog:
    """Raises StallError when no counter of the pools and no count of commits has changed for `timeout` seconds.

    Each of `rows` passes through `pools` in this order. Time in which the stream is `excused`, as during an outage of
    its store, does not count.
    """

    def __init__(
        self,
        pools: tuple[str, ...],
        rows: int,
        timeout: float,
        clock: Callable[[], float],
        excused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pools = pools
        self._rows = rows
        self._timeout = timeout
        self._clock = clock
        self._excused = excused
        self._last: object = None
        self._moved = clock()

    def check(self, progress: Mapping[str, PoolProgress], committed: int) -> None:
        pools = {pool: (seen.ready, dict(seen.counts), seen.loaded_megabytes) for pool, seen in progress.items()}
        state = pools, committed
        if state != self._last or self._excused():
            self._last = state
            self._moved = self._clock()
            return
        idle = self._clock() - self._moved
        if idle >= self._timeout:
            raise StallError(
                f"No progress for {idle / 60:.1f} minutes. {stuck_pool(self._pools, self._rows, progress)} "
                "Finished rows are kept. Fix: rerun the command to resume, or set a longer --stall-timeout."
            )


def stuck_pool(pools: tuple[str, ...], rows: int, progress: Mapping[str, PoolProgress]) -> str:
    """A sentence about the first pool that has unfinished rows, lost its engines or never started."""
    for pool in pools:
        seen = progress.get(pool, PoolProgress())
        in_flight = seen.counts["rows_in"] - seen.counts["rows_out"]
        if not seen.ready and not seen.counts["rows_in"]:
            return (
                f"The pool {pool!r} has no engine that is ready: its actors wait for resources, or their engine is "
                "still loading (see `ray status` and the engine's log)."
            )
        if not seen.ready and seen.counts["rows_out"] < rows:
            return (
                f"The pool {pool!r} lost its engines after {seen.counts['rows_out']} of {rows} rows: they restart "
                "when a node has free resources (see `ray status`), or are still loading."
            )
        if in_flight:
            return f"The pool {pool!r} holds {in_flight} rows that its engines do not finish."
    return (
        "Every pool is idle: the stream itself is stuck (storage that does not answer, or no free CPU for its tasks)."
    )
