"""One try at a run on a cluster: its stages one after the other, each a stream that is pumped to its end."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ray.data import Dataset

from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.cluster.planner import Plan, PlannedPool
from safechain_ray.cluster.streaming import stream
from safechain_ray.cluster.streaming.balance import in_balance
from safechain_ray.cluster.streaming.series import RunSeries
from safechain_ray.cluster.streaming.shared_judges import SharedJudge, through_shared
from safechain_ray.cluster.streaming.stage import Stage
from safechain_ray.cluster.streaming.stream_control import StreamControl
from safechain_ray.cluster.streaming.watchdog import Watchdog
from safechain_ray.cluster.tally import PoolProgress, start_tally
from safechain_ray.cluster.workers.commit import Benign, Commit, block_counts
from safechain_ray.cluster.workers.judging import RulesAndVotes
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.judges.vote import Vote
from safechain_ray.pipelines.runs.inventory import put_in_order, tell
from safechain_ray.pipelines.runs.kept_rounds import KeptRounds
from safechain_ray.pipelines.runs.observer import Observer, PoolNotes, Snapshot
from safechain_ray.pipelines.runs.pace import Pace, PoolRates
from safechain_ray.pipelines.runs.pools import MODEL_POOL
from safechain_ray.pipelines.runs.pump import pump
from safechain_ray.pipelines.runs.rebalance import Rebalance
from safechain_ray.pipelines.runs.resolve import ResolvedRun
from safechain_ray.pipelines.runs.run_folder import RunFolder
from safechain_ray.pipelines.runs.run_record import RunRecord
from safechain_ray.schema import Part
from safechain_ray.storage import Folder


@dataclass(frozen=True, slots=True)
class Means:
    """What every try has: its resources, whom it tells, where it is noted, how its engines start, how it is steered.

    `shared` are judges that are running already, for all runs of a sweep. Time in which they load is no stall.
    """

    resources: ResourcesConfig
    observer: Observer
    record: RunRecord
    start_engine: StartEngine
    control: StreamControl = field(default_factory=StreamControl)
    shared: tuple[SharedJudge, ...] = ()
    judges_load: Callable[[], bool] = lambda: False


class Work(ABC):
    """What one try does with a cluster and its plan; `progress` is what the pools last reported."""

    decisions: tuple[str, ...] = ("unsafe",)
    """Counts of committed blocks that say what the judges decide: told also while they are 0."""

    def __init__(self, total: int, means: Means, log_folder: Path) -> None:
        self._total = total
        self._means = means
        self._tally = start_tally()
        self._settings = stream.StreamSettings.of(means.resources, means.start_engine, log_folder, self._tally)
        self._series = RunSeries(means.record.place, means.record.subject)
        self._ticks: list[Callable[[], None]] = []  # called about twice a second while a stream runs
        self._notes = PoolNotes(means.observer)
        self.progress: Mapping[str, PoolProgress] = {}

    @abstractmethod
    def run_stages(self, plan: Plan) -> int:
        """Do what is left of it; gives the number of rows committed."""

    def _pump(self, blocks: Iterator[Mapping[str, int]], stage: Stage, rebalance: Rebalance | None = None) -> int:
        started = time.monotonic()
        pace, rates = Pace(time.monotonic), PoolRates(time.monotonic)

        def show(committed: Mapping[str, int], progress: Mapping[str, PoolProgress]) -> None:
            self.progress = progress
            self._notes.show(progress)
            seconds = time.monotonic() - started
            snapshot = Snapshot.of(stage, committed, progress, seconds, self.decisions, rates.note(progress))
            pace.note(snapshot.committed.get("rows", 0), snapshot.tokens)
            self._means.record.progressed(progress, snapshot.live(pace))
            export(committed, progress)
            for tick in self._ticks:
                tick()
            if rebalance is not None and (move := rebalance.note(progress, left - snapshot.committed.get("rows", 0))):
                self._means.control.move_replica(move.donor, move.receiver)
                self._means.observer.say(rebalance.describe(move))
            self._means.observer.update(snapshot)

        record, timeout = self._means.record, self._means.resources.stall_timeout_minutes * 60
        left = stage.total - stage.done_before
        judges_load = self._means.judges_load
        watchdog = Watchdog(
            stage.pools, left, timeout, time.monotonic, excused=lambda: record.store_is_silent or judges_load()
        )
        with self._series.stage(stage) as export:
            return pump(blocks, self._tally, watchdog, show, self._means.control)["rows"]


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
        self._benign: Benign = {}

    def run_stages(self, plan: Plan) -> int:
        stages = plan.stages
        if len(stages) == 1 and self._folder.has_stages:
            # An earlier, staged try left samples that wait for their judges: judge those, don't generate them again.
            stages = tuple((pool,) for pool in plan.stages[0]) + (((),) if self._means.shared else ())
        committed = 0
        for number, pools in enumerate(stages):
            committed = self._run_stage(number, pools, len(stages))
        return committed

    def _run_stage(self, number: int, pools: tuple[PlannedPool, ...], stages: int) -> int:
        last = number == stages - 1
        target = self._folder.samples if last else self._folder.stage(number)
        count = partial(block_counts, judges=self._deciding, benign=self._benign)
        there = put_in_order(self._folder.samples, retry_errors=True, counts=count)
        finished, found = set(there.finished), there.counts
        if not last:
            waiting = put_in_order(target, retry_errors=True, counts=count, expected=self._expected())
            tell(waiting, self._means.observer)
            finished |= waiting.finished.keys()
            found = found + waiting.counts
        rows, left = self._source(finished) if number == 0 else self._stored(self._folder.stage(number - 1), finished)
        if not left:
            return 0
        for pool in pools:
            rows = self._through(rows, pool)
        for judge in self._means.shared if last else ():
            rows = through_shared(rows, judge, self._settings)
        verdicts = self._last_verdicts() if last else None
        blocks = stream.commit(rows, verdicts, Commit(target, counts=count), self._means.control)
        shared = [judge.entry.name for judge in self._means.shared] if last else []
        names = (*(pool.needs.pool for pool in pools), *shared)
        stage = Stage(names, self._total, self._total - left, found, self._deciding, number + 1, stages)
        running = [self._settings.running(pool) for pool in pools]
        rebalance = Rebalance(pools, running, self._settings.block_rows, time.monotonic)
        return self._pump(blocks, stage, rebalance if rebalance.may_move and not shared else None)

    @property
    def _deciding(self) -> tuple[str, ...]:
        """Whose verdicts are counted."""
        return (*(judge.name for judge in self._judges), *(vote.name for vote in self._votes))

    @abstractmethod
    def _source(self, finished: set[str]) -> tuple[Dataset, int]:
        """What the first stage starts from, without the samples that are `finished`, and how many rows it is."""

    def _expected(self) -> Iterable[str] | None:
        """The ids of the samples that the work is about; None where no other ones can be in its folders."""
        return None

    def _stored(self, folder: Folder, finished: set[str]) -> tuple[Dataset, int]:
        stored = put_in_order(folder, retry_errors=False, expected=self._expected())
        tell(stored, self._means.observer)
        waiting = {sample_id: file for sample_id, file in stored.finished.items() if sample_id not in finished}
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
        self._benign = {name: kind.benign_categories or () for name, kind in run.kinds.items()}
        rounds = KeptRounds(folder.folder, self._settings.ledger)
        rounds.restore()
        self._ticks.append(rounds.note)

    def _expected(self) -> Iterable[str] | None:
        return self._run.worklist.ids()

    def _source(self, finished: set[str]) -> tuple[Dataset, int]:
        numbers = self._run.worklist.numbers_without(finished)
        in_order = in_balance(self._run.worklist, numbers)
        return stream.numbers_to_generate(in_order, self._settings.block_rows), len(numbers)

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
