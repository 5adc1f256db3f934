"""One try at a run on a cluster: its stages one after the other, each a stream that is pumped to its end."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ray.data import Dataset

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster import stream
from safechain_ray.cluster.commit import Commit
from safechain_ray.cluster.judging import RulesAndVotes
from safechain_ray.cluster.planner import Plan, PlannedPool
from safechain_ray.cluster.tally import PoolProgress, start_tally
from safechain_ray.cluster.watchdog import Watchdog
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.judges.vote import Vote
from safechain_ray.pipelines.kept_rounds import KeptRounds
from safechain_ray.pipelines.observer import Observer, Snapshot
from safechain_ray.pipelines.pools import MODEL_POOL
from safechain_ray.pipelines.pump import pump
from safechain_ray.pipelines.resolve import ResolvedRun
from safechain_ray.pipelines.run_folder import RunFolder, put_in_order
from safechain_ray.pipelines.run_record import RunRecord
from safechain_ray.schema import Part
from safechain_ray.storage import Folder


@dataclass(frozen=True, slots=True)
class Means:
    """What every try has: its resources, whom it tells, where it is noted, and how its engines start."""

    resources: ResourcesConfig
    observer: Observer
    record: RunRecord
    start_engine: StartEngine


class Work(ABC):
    """What one try does with a cluster and its plan; `progress` is what the pools last reported."""

    decisions: tuple[str, ...] = ("unsafe",)
    """Counts of committed blocks that say what the judges decide: told also while they are 0."""

    def __init__(self, total: int, means: Means, log_folder: Path) -> None:
        self._total = total
        self._means = means
        self._tally = start_tally()
        self._settings = stream.StreamSettings.of(means.resources, means.start_engine, log_folder, self._tally)
        self._ticks: list[Callable[[], None]] = []  # called about twice a second while a stream runs
        self.progress: Mapping[str, PoolProgress] = {}

    @abstractmethod
    def run_stages(self, plan: Plan) -> int:
        """Do what is left of it; gives the number of rows committed."""

    def _pump(self, blocks: Iterator[Mapping[str, int]], pools: tuple[str, ...], left: int) -> int:
        started = time.monotonic()

        def show(committed: Mapping[str, int], progress: Mapping[str, PoolProgress]) -> None:
            self.progress = progress
            self._means.record.progressed(progress)
            for tick in self._ticks:
                tick()
            seconds = time.monotonic() - started
            done_before = self._total - left
            self._means.observer.update(
                Snapshot(self._total, done_before, pools, committed, progress, seconds, self.decisions)
            )

        watchdog = Watchdog(pools, left, self._means.resources.stall_timeout_minutes * 60, time.monotonic)
        return pump(blocks, self._tally, watchdog, show)["rows"]


class Job(Work):
    """Samples through the stages of a plan."""

    def __init__(
        self,
        total: int,
        judges: tuple[JudgeEntry, ...],
        votes: tuple[Vote, ...],
        parts: tuple[Part, ...],
        folder: RunFolder,
        means: Means,
        log_folder: Path,
    ) -> None:
        super().__init__(total, means, log_folder)
        self._judges = judges
        self._votes = votes
        self._parts = parts
        self._folder = folder

    def run_stages(self, plan: Plan) -> int:
        stages = plan.stages
        if len(stages) == 1 and self._folder.has_stages:
            # An earlier, staged try left samples that wait for their judges: judge those, don't generate them again.
            stages = tuple((pool,) for pool in plan.stages[0])
        committed = 0
        for number, pools in enumerate(stages):
            committed = self._run_stage(number, pools, last=number == len(stages) - 1)
        return committed

    def _run_stage(self, number: int, pools: tuple[PlannedPool, ...], last: bool) -> int:
        stream.configure_ray_data()
        target = self._folder.samples if last else self._folder.stage(number)
        finished = set(put_in_order(self._folder.samples, retry_errors=True).finished)
        if not last:
            finished |= put_in_order(target, retry_errors=True).finished.keys()
        rows, left = self._source(finished) if number == 0 else self._stored(self._folder.stage(number - 1), finished)
        if not left:
            return 0
        for pool in pools:
            rows = self._through(rows, pool)
        blocks = stream.commit(rows, self._last_verdicts() if last else None, Commit(target))
        return self._pump(blocks, tuple(pool.needs.pool for pool in pools), left)

    @abstractmethod
    def _source(self, finished: set[str]) -> tuple[Dataset, int]:
        """What the first stage starts from, without the samples that are `finished`, and how many rows it is."""

    def _stored(self, folder: Folder, finished: set[str]) -> tuple[Dataset, int]:
        stored = put_in_order(folder, retry_errors=False).finished
        waiting = {sample_id: file for sample_id, file in stored.items() if sample_id not in finished}
        return stream.stored_samples(folder, waiting, self._settings.block_rows), len(waiting)

    def _through(self, rows: Dataset, pool: PlannedPool) -> Dataset:
        entry = next(judge for judge in self._judges if judge.name == pool.needs.pool)
        return stream.judge(rows, pool, entry, self._parts, self._settings)

    def _last_verdicts(self) -> RulesAndVotes:
        """The verdicts that are given where blocks are committed: those of rules, then votes over all."""
        return RulesAndVotes(tuple(judge for judge in self._judges if judge.is_rule), self._votes, self._parts)


class GeneratingJob(Job):
    """Generates the samples of a run, and has them judged."""

    def __init__(self, run: ResolvedRun, folder: RunFolder, means: Means, log_folder: Path) -> None:
        super().__init__(len(run.worklist), run.judges, run.votes, run.parts, folder, means, log_folder)
        self._run = run
        rounds = KeptRounds(folder.folder, self._settings.ledger)
        rounds.restore()
        self._ticks.append(rounds.note)

    def _source(self, finished: set[str]) -> tuple[Dataset, int]:
        numbers = self._run.worklist.numbers_without(finished)
        return stream.numbers_to_generate(numbers, self._settings.block_rows), len(numbers)

    def _through(self, rows: Dataset, pool: PlannedPool) -> Dataset:
        if pool.needs.pool != MODEL_POOL:
            return super()._through(rows, pool)
        return stream.generate(rows, pool, self._run.model, self._run.family, self._run.worklist, self._settings)


class JudgingJob(Job):
    """Has samples judged that stand in a folder already."""

    def __init__(
        self,
        waiting: Folder,
        total: int,
        judges: tuple[JudgeEntry, ...],
        folder: RunFolder,
        means: Means,
        log_folder: Path,
    ) -> None:
        super().__init__(total, judges, (), ("response",), folder, means, log_folder)
        self._waiting = waiting

    def _source(self, finished: set[str]) -> tuple[Dataset, int]:
        return self._stored(self._waiting, finished)
