"""The workload of a command: its rows, plan, streams and figures; and the one loop that runs every workload.

`run` locks the output folder, opens its record, repairs its files, plans, streams the remaining rows, and measures. A
command adds a subclass of `Workload` and nothing else, so that every command has attempts, versions, progress and cost.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from safechain_ray.cluster.planner import ClusterView, Plan
from safechain_ray.cluster.progress import Stage
from safechain_ray.cluster.session import cluster_address
from safechain_ray.cluster.shared_judges import SharedJudge
from safechain_ray.cluster.stream_control import StreamControl
from safechain_ray.config import ResourcesConfig
from safechain_ray.config.parts import TrackerName
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import SafechainError
from safechain_ray.runs.attempt import Attempt, RowStream, RunContext, run_attempt
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import RunReporter, Snapshot, Throughput
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.tracked import tracked
from safechain_ray.trackers.base import check_trackers

Result = TypeVar("Result")
ShowCounts = Callable[[Mapping[str, int]], None]


@dataclass(frozen=True, slots=True)
class Remaining:
    """The rows that earlier attempts left.

    `streams` yields one stream after the other: the next one may read the files of the one before.
    `without_cluster` does the rows in this process and returns their number, where no engine is needed. It calls its
    argument with the counts of the rows so far (`writer.COMMITTED`).
    """

    total: int
    completed: int
    plan: Callable[[ClusterView], Plan]
    streams: Callable[[Plan, Attempt], Iterator[RowStream]]
    without_cluster: Callable[[ShowCounts], int] | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sweep runs a workload: its plan, its stream control, and judges that are already running.

    Time in which these judges load, by `judges_load`, counts as no stall.
    """

    plan: Plan
    control: StreamControl
    shared: tuple[SharedJudge, ...]
    judges_load: Callable[[], bool]


class Workload(ABC, Generic[Result]):
    """The differences between the commands. Subclasses are values: all facts known before the output is locked."""

    rows_are: ClassVar[str] = "samples"
    """The word for rows in messages."""

    decisions: ClassVar[tuple[str, ...]] = ("unsafe",)
    """Counts of committed rows that show the decisions of judges; shown also while they are 0."""

    command: ClassVar[str | None] = None
    """Noted with each attempt in run.json; None for the command that the run belongs to."""

    @property
    @abstractmethod
    def output(self) -> str:
        """The folder's path or URI."""

    @property
    @abstractmethod
    def resources(self) -> ResourcesConfig: ...

    @property
    def report_to(self) -> Collection[TrackerName]:
        """The trackers that receive the progress and the figures."""
        return ()

    def tracked_figures(self, result: Result) -> Mapping[str, float]:
        """The figures for the trackers."""
        return {}

    @abstractmethod
    def open_record(self, folder: RunFolder) -> RunRecord:
        """The folder's run.json, or a new one. Raises RunConflictError for a folder of another workload."""

    @abstractmethod
    def repair(self, folder: RunFolder, record: RunRecord, reporter: RunReporter) -> Remaining:
        """Quarantine torn files, remove repeated rows, report both, and find the remaining rows."""

    @abstractmethod
    def all_completed(self, total: int) -> str:
        """The sentence for a folder without remaining rows."""

    @abstractmethod
    def measure(self, folder: RunFolder, record: RunRecord, committed: int) -> Result:
        """Compute and write the figures. `committed` rows were done by this attempt."""

    def check_machine(self) -> None:
        """Check this machine, where the run starts its own Ray: keys, sandboxes. Raises SafechainError."""


@dataclass(frozen=True, slots=True)
class OpenWorkload(Generic[Result]):
    """A workload whose folder is locked and repaired."""

    workload: Workload[Result]
    folder: RunFolder
    record: RunRecord
    remaining: Remaining

    @property
    def left(self) -> int:
        """Rows to do."""
        return self.remaining.total - self.remaining.completed


def run(workload: Workload[Result], reporter: RunReporter, start_engine: StartEngine) -> Result:
    """Run a workload to its end. It resumes where an earlier attempt was interrupted.

    Raises:
        InputError, OutputLockedError: Before anything starts.
        EngineStartError, StallError, StorageError: While it runs. Committed rows stay.
    """
    with open_workload(workload, reporter) as opened:
        return finish(opened, reporter, start_engine)


@contextmanager
def open_workload(workload: Workload[Result], reporter: RunReporter) -> Iterator[OpenWorkload[Result]]:
    """Lock and repair the output folder for the length of a block.

    Raises:
        InputError: A tracker can't be used here.
        RunConflictError: The folder belongs to another workload.
        OutputLockedError: Another driver has locked it.
    """
    check_trackers(workload.report_to)
    with lock_output(workload.output, workload.resources, reporter) as folder:
        record = workload.open_record(folder)
        yield OpenWorkload(workload, folder, record, workload.repair(folder, record, reporter))


def finish(
    opened: OpenWorkload[Result], reporter: RunReporter, start_engine: StartEngine, placement: Placement | None = None
) -> Result:
    """Do the remaining rows of an open workload, and measure it. Without `placement` it has the whole cluster.

    Raises the errors of `run` once engines start, and PlanError.
    """
    workload = opened.workload
    with tracked(
        workload.report_to, opened.record.tracked_run, reporter, opened.remaining.completed
    ) as tracked_reporter:
        committed = _do_remaining(opened, tracked_reporter, start_engine, placement)
        result = workload.measure(opened.folder, opened.record, committed)
        tracked_reporter.figures = workload.tracked_figures(result)
    return result


def _do_remaining(
    opened: OpenWorkload[Result], reporter: RunReporter, start_engine: StartEngine, placement: Placement | None
) -> int:
    """Do the remaining rows. Returns their number."""
    workload, remaining = opened.workload, opened.remaining
    if not opened.left:
        reporter.report(workload.all_completed(remaining.total))
        return 0
    if remaining.without_cluster is not None:
        return _without_cluster(opened, remaining.without_cluster, reporter)
    if cluster_address(workload.resources.ray_address) is None:
        workload.check_machine()
    context = RunContext(workload.resources, reporter, opened.record, start_engine)
    if placement is not None:
        context = context.placed(placement.control, placement.shared, placement.judges_load)
    return run_attempt(
        context,
        remaining.plan if placement is None else lambda view: placement.plan,
        remaining.streams,
        completed=remaining.completed,
        total=remaining.total,
        rows_are=workload.rows_are,
        decisions=workload.decisions,
        command=workload.command,
    )


def _without_cluster(opened: OpenWorkload[Result], do_rows: Callable[[ShowCounts], int], reporter: RunReporter) -> int:
    """Do the rows in this process, as an attempt of the run."""
    record, remaining = opened.record, opened.remaining
    stage = Stage((), remaining.total, remaining.completed)
    started, throughput = time.monotonic(), Throughput(time.monotonic)

    def show(counts: Mapping[str, int]) -> None:
        snapshot = Snapshot(stage, counts, {}, time.monotonic() - started, decisions=())
        throughput.note(snapshot.committed_rows, 0)
        record.progressed({}, snapshot.progress_record(throughput))
        reporter.update(snapshot)

    record.started(Plan(()), ClusterView(()), remaining.completed, opened.workload.command)
    status = "interrupted"
    try:
        committed = do_rows(show)
        status = "done"
    except Exception as error:
        status = f"failed: {error if isinstance(error, SafechainError) else repr(error)}"
        raise
    finally:
        record.ended(status, {})
    return committed
