"""One attempt at a run: join a cluster, plan, consume the streams, and record the outcome in run.json.

A thread consumes each stream. The driver's own thread polls progress, so that it can show it and be interrupted.
Checkpoints of responses that are being generated are written to the run's folder, so that they outlive the driver.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from pydantic import TypeAdapter, ValidationError
from ray.data import Dataset
from ray.exceptions import GetTimeoutError

from safechain_ray.cluster import pipeline
from safechain_ray.cluster.metrics_exporter import MetricsExporter
from safechain_ray.cluster.pipeline import Watchdog
from safechain_ray.cluster.planner import ClusterView, Plan, PlannedPool
from safechain_ray.cluster.progress import PoolProgress, Stage, start_progress_tracker
from safechain_ray.cluster.session import cluster_address, explain, ray_session, view_cluster, view_local
from safechain_ray.cluster.shared_judges import SharedJudge
from safechain_ray.cluster.stream_control import StreamControl, StreamStoppedError
from safechain_ray.cluster.workers.judge import RulesAndVotes
from safechain_ray.cluster.workers.writer import BlockWriter
from safechain_ray.config import ResourcesConfig
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import SafechainError
from safechain_ray.runs.progress import PoolNotes, PoolRates, RunReporter, Snapshot, Throughput
from safechain_ray.runs.rebalance import Rebalance
from safechain_ray.runs.record import RunRecord
from safechain_ray.storage import Folder

FILE = "progress/rounds.json"

NOTE_SECONDS = 30.0

MOST_CHARACTERS = 16 * 2**20
"""Most characters of the checkpoints that are fetched every half minute: beyond it only the longest are stored."""

POLL_INTERVAL = 0.5

RPC_TIMEOUT = 10.0

STOP_SECONDS = 15.0

Events = queue.Queue[Mapping[str, int] | BaseException | None]

Show = Callable[[Counter[str], Mapping[str, PoolProgress]], None]

_CHECKPOINTS = TypeAdapter(dict[str, dict[str, str | int | bool | None]])


class CheckpointedRounds:
    """Checkpoints of a run's incomplete rows: written every half minute, and restored by the next attempt."""

    def __init__(self, folder: Folder, inflight_tracker: Any) -> None:
        self._folder = folder
        self._inflight_tracker = inflight_tracker
        self._noted = time.monotonic()
        self._written = b""

    def restore(self) -> None:
        """Give the tracker the checkpoints of an earlier attempt. A damaged file counts as none."""
        if not self._folder.exists(FILE):
            return
        self._written = self._folder.read_bytes(FILE)
        with suppress(ValidationError):
            self._inflight_tracker.restore.remote(_CHECKPOINTS.validate_json(self._written))

    def note(self) -> None:
        """Write the checkpoints, every half minute at most."""
        if time.monotonic() - self._noted < NOTE_SECONDS:
            return
        self._noted = time.monotonic()
        with suppress(GetTimeoutError):
            checkpoints = _CHECKPOINTS.dump_json(
                ray.get(self._inflight_tracker.longest_checkpoints.remote(MOST_CHARACTERS), timeout=RPC_TIMEOUT)
            )
            if checkpoints != self._written and (self._written or checkpoints != b"{}"):
                self._folder.write_bytes(FILE, checkpoints)
                self._written = checkpoints


def delete_checkpoints(folder: Folder) -> None:
    """Delete the checkpoints of a completed run."""
    if folder.exists("progress"):
        folder.delete_folder("progress")


def consume_stream(
    blocks: Iterator[Mapping[str, int]],
    progress_tracker: Any,
    watchdog: Watchdog,
    show: Show,
    control: StreamControl,
) -> Counter[str]:
    """Consume the stream to its end, and return the sum of its blocks' counts.

    Raises the error of the stream, as a SafechainError if that is its cause, and StallError from the watchdog.
    """
    events: Events = queue.Queue()

    def consume() -> None:
        try:
            for block in blocks:
                events.put(block)
            events.put(None)
        except BaseException as error:
            events.put(error)

    stream = threading.Thread(target=consume, name="stream", daemon=True)
    stream.start()
    failed = True
    try:
        counts = _watch(events, progress_tracker, watchdog, show)
        failed = False
    finally:
        # Ray must not be shut down while the stream runs: its thread would start a new Ray.
        control.end_stream()
        stream.join(STOP_SECONDS)
        control.forget_actors(kill=failed)
    return counts


def _watch(events: Events, progress_tracker: Any, watchdog: Watchdog, show: Show) -> Counter[str]:
    committed: Counter[str] = Counter()
    progress: Mapping[str, PoolProgress] = {}
    while True:
        ended = _drain(events, committed)
        # A cluster with faults may not answer: the watchdog then sees no progress.
        with suppress(GetTimeoutError):
            progress = ray.get(progress_tracker.progress.remote(), timeout=RPC_TIMEOUT)
        show(committed, progress)
        if ended:
            return committed
        watchdog.check(progress, committed["rows"])


def _drain(events: Events, committed: Counter[str]) -> bool:
    """Add up the counts that arrive within one poll interval; True at the stream's end."""
    deadline = time.monotonic() + POLL_INTERVAL
    while (left := deadline - time.monotonic()) > 0:
        try:
            event = events.get(timeout=left)
        except queue.Empty:
            return False
        if event is None:
            return True
        if isinstance(event, BaseException):
            raise explain(event)
        committed.update(event)
    return False


@dataclass(frozen=True, slots=True)
class RunContext:
    """Dependencies shared by all attempts of a run: resources, progress reporter, run record, engine factory, control.

    `shared` are judges that are already running, for all runs of a sweep. Time in which they load counts as no stall.
    """

    resources: ResourcesConfig
    reporter: RunReporter
    record: RunRecord
    start_engine: StartEngine
    control: StreamControl = field(default_factory=StreamControl)
    shared: tuple[SharedJudge, ...] = ()
    judges_load: Callable[[], bool] = lambda: False

    def placed(
        self, control: StreamControl, shared: tuple[SharedJudge, ...], judges_load: Callable[[], bool]
    ) -> "RunContext":
        """The context of a run that a sweep placed."""
        return replace(self, control=control, shared=shared, judges_load=judges_load)


@dataclass(frozen=True, slots=True)
class RowStream:
    """One Ray Data stream: the pools of `stage` yield `rows`, and `writer` commits them to a folder.

    `last_verdicts` are added to the rows before that. `pools` may exchange GPUs while the stream runs.
    """

    rows: Dataset
    writer: BlockWriter
    stage: Stage
    last_verdicts: RulesAndVotes | None = None
    pools: tuple[PlannedPool, ...] = ()


class Attempt:
    """What the streams of one attempt share: settings of the pools, progress, metrics. `progress` is the latest."""

    def __init__(self, context: RunContext, decisions: tuple[str, ...], log_folder: Path) -> None:
        self.context = context
        self.progress: Mapping[str, PoolProgress] = {}
        self._decisions = decisions
        self._progress_tracker = start_progress_tracker()
        self.settings = pipeline.StreamSettings.of(
            context.resources, context.start_engine, log_folder, self._progress_tracker
        )
        self._series = MetricsExporter(context.record.location, context.record.subject)
        self._notes = PoolNotes(context.reporter)
        self._ticks: list[Callable[[], None]] = []

    def checkpoint_rounds(self, folder: Folder) -> None:
        """Restore the rounds of an interrupted attempt, and checkpoint rounds from now on."""
        rounds = CheckpointedRounds(folder, self.settings.inflight_tracker)
        rounds.restore()
        self._ticks.append(rounds.note)

    def consume(self, rows: RowStream) -> int:
        """Consume a stream to its end, and return the number of rows committed."""
        context, stage = self.context, rows.stage
        started = time.monotonic()
        throughput, rates = Throughput(time.monotonic), PoolRates(time.monotonic)
        left = stage.total - stage.done_before
        rebalance = self._rebalance(rows.pools)

        def show(committed: Mapping[str, int], progress: Mapping[str, PoolProgress]) -> None:
            self.progress = progress
            self._notes.show(progress)
            seconds = time.monotonic() - started
            snapshot = Snapshot(stage, committed, progress, seconds, self._decisions, rates.note(progress))
            throughput.note(snapshot.committed_rows, snapshot.tokens)
            context.record.progressed(progress, snapshot.progress_record(throughput))
            export(committed, progress)
            for tick in self._ticks:
                tick()
            if rebalance is not None and (move := rebalance.note(progress, left - committed.get("rows", 0))):
                context.control.move_replica(move.donor, move.receiver)
                context.reporter.report(rebalance.describe(move))
            context.reporter.update(snapshot)

        watchdog = Watchdog(
            stage.pools,
            left,
            context.resources.stall_timeout_minutes * 60,
            time.monotonic,
            excused=lambda: context.record.store_is_silent or context.judges_load(),
        )
        blocks = pipeline.commit(rows.rows, rows.last_verdicts, rows.writer, context.control)
        with self._series.stage(stage) as export:
            return consume_stream(blocks, self._progress_tracker, watchdog, show, context.control)["rows"]

    def _rebalance(self, pools: tuple[PlannedPool, ...]) -> Rebalance | None:
        running = [self.settings.running(pool) for pool in pools]
        rebalance = Rebalance(pools, running, self.settings.block_rows, time.monotonic)
        return rebalance if rebalance.may_move and not self.context.shared else None


def run_attempt(
    context: RunContext,
    plan_on: Callable[[ClusterView], Plan],
    streams: Callable[[Plan, Attempt], Iterator[RowStream]],
    *,
    completed: int,
    total: int,
    rows_are: str,
    decisions: tuple[str, ...],
    command: str | None,
) -> int:
    """Do the remaining rows, and return the number committed. `completed` of `total` rows are done.

    Raises PlanError before a local Ray starts, and the errors of a stream.
    """
    address, record, reporter = context.resources.ray_address, context.record, context.reporter
    if cluster_address(address) is None:
        plan_on(view_local())
    with ray_session(address, reporter.report) as log_folder:
        view = view_cluster(context.resources)
        plan = plan_on(view)
        for note in plan.notes:
            reporter.report(note)
        record.started(plan, view, completed, command)
        attempt = Attempt(context, decisions, log_folder)
        reporter.report(f"{total - completed} of {total} {rows_are} to do. Engine logs: {log_folder}")
        status = "interrupted"
        try:
            committed = 0
            for each in streams(plan, attempt):
                rows = attempt.consume(each)
                committed += rows if each.stage.is_last else 0
            status = "done"
        except StreamStoppedError:
            raise
        except Exception as error:
            status = f"failed: {error if isinstance(error, SafechainError) else repr(error)}"
            raise
        finally:
            record.ended(status, attempt.progress)
    return committed
