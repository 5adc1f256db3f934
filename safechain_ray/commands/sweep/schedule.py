"""The scheduler of a sweep: starts runs where they fit, scales them up, slices time, preempts, retries failed runs."""

import math
import queue
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from safechain_ray.cluster.pipeline import StreamSettings
from safechain_ray.cluster.planner import ClusterView, Plan, PoolNeeds, make_plan, needs_table
from safechain_ray.cluster.progress import start_progress_tracker
from safechain_ray.cluster.scheduler_policy import PLACEMENT_GRACE_PERIOD, WaitingRun, schedule_runs
from safechain_ray.cluster.session import view_cluster, view_free
from safechain_ray.cluster.shared_judges import start_shared_judge
from safechain_ray.cluster.stream_control import StreamStoppedError
from safechain_ray.commands.evaluate import Evaluation, OpenRun, finish, measure_so_far, open_run
from safechain_ray.commands.sweep.active_runs import (
    ActiveRun,
    ConditionTimer,
    Demand,
    SharedJudgesState,
    shared_pools,
    time_slice,
    work,
)
from safechain_ray.commands.sweep.record import SweepRecord
from safechain_ray.engines.start import StartEngine
from safechain_ray.errors import InputError, PlanError, SafechainError
from safechain_ray.runs.pools import pool_needs
from safechain_ray.runs.progress import PrefixedReporter, RunReporter
from safechain_ray.runs.workload import Placement

POLL_INTERVAL = 1.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Options of the scheduler.

    A failed run is retried `retries` times, after the queued ones. At most `at_once` runs run side by side. At
    `deadline` (seconds since the epoch) all runs stop; before it, models that do not fit together get time slices.
    """

    retries: int = 1
    at_once: int = 16
    deadline: float = math.inf


class Schedule:
    """Runs all runs of a sweep on the Ray cluster that the driver has joined. `run` is called once."""

    def __init__(
        self,
        waiting: dict[str, OpenRun],
        record: SweepRecord,
        reporter: RunReporter,
        start_engine: StartEngine,
        logs: Path,
        options: SweepOptions,
    ) -> None:
        self._waiting = waiting
        self._running: dict[str, ActiveRun] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._record = record
        self._reporter = reporter
        self._start_engine = start_engine
        self._options = options
        self._failures_left = dict.fromkeys(waiting, options.retries)
        self._slices = dict.fromkeys(waiting, 0)
        self._ended: queue.Queue[tuple[str, Evaluation | BaseException]] = queue.Queue()
        self._resources = next(iter(waiting.values())).config.resources
        self._view = view_cluster(self._resources)
        self._idle = ConditionTimer()
        self._blocked = ConditionTimer()
        self._refuse_what_no_engine_runs()
        self._judges = self._share_judges(logs)
        self._needs = {name: self._needs_of(opened) for name, opened in self._waiting.items()}

    def run(self) -> None:
        """Errors of runs are recorded. An interruption and the deadline stop all runs and leave them queued."""
        self._refuse_what_never_fits()
        if math.isfinite(self._options.deadline):
            self._reporter.report(f"Time is up at {in_local_time(self._options.deadline)}.")
        try:
            while (self._waiting or self._running) and time.time() < self._options.deadline:
                self._pack()
                self._end_slices()
                self._wait()
                self._fail_starved()
        finally:
            self._stop()
        for name, opened in self._waiting.items():
            self._reporter.report(f"Time is up before {name} is finished. Rerun the command to resume.")
            try:
                with open_run(opened.config, opened.run, PrefixedReporter(self._reporter, name)) as locked:
                    measure_so_far(locked)
            except SafechainError as error:
                self._reporter.report(f"The samples of {name} so far could not be measured: {error}")

    def _share_judges(self, logs: Path) -> SharedJudgesState:
        runs = list(self._waiting.values())
        pools = shared_pools(runs, self._view) if runs else ()
        if not pools:
            return SharedJudgesState((), None, self._reporter)
        judges = {judge.name: judge for judge in runs[0].run.judges}
        progress_tracker = start_progress_tracker()
        settings = StreamSettings.of(self._resources, self._start_engine, logs, progress_tracker)
        shared = []
        for pool in pools:
            self._reporter.report(
                f"{pool.needs.pool} judges for all models, with {_counted(pool.replicas, 'replica')}."
            )
            shared.append(start_shared_judge(pool, judges[pool.needs.pool], runs[0].run.parts, settings))
        return SharedJudgesState(tuple(shared), progress_tracker, self._reporter)

    def _needs_of(self, opened: OpenRun) -> tuple[PoolNeeds, ...]:
        shared = {judge.entry.name for judge in self._judges.shared}
        needs = pool_needs(opened.run, self._resources, self._view)
        return tuple(pool for pool in needs if pool.pool not in shared)

    def _refuse_what_no_engine_runs(self) -> None:
        for name, opened in list(self._waiting.items()):
            try:
                pool_needs(opened.run, self._resources, self._view)
            except PlanError as error:
                self._refuse(name, error)

    def _refuse_what_never_fits(self) -> None:
        for name in list(self._waiting):
            try:
                make_plan(self._needs[name], self._view)
            except PlanError as error:
                self._refuse(name, error)

    def _refuse(self, name: str, error: PlanError) -> None:
        del self._waiting[name]
        self._reporter.report(f"{name} can't be evaluated here. {error}")
        self._record.failed(name, str(error))

    def _pack(self) -> None:
        waiting = [
            WaitingRun(name, self._needs[name], work(opened, opened.left), self._slices[name])
            for name, opened in self._waiting.items()
        ]
        running = [active_run.running(name) for name, active_run in self._running.items()]
        free, judges = self._free(), self._judges.unplaced()
        if self._judges.need_preemption(judges, free):
            self._preempt()
        decision = schedule_runs(waiting, running, free, self._options.at_once, judges)
        if self._blocked.is_due(self._blocked.seconds(bool(decision.held_back))):
            names, minutes = ", ".join(decision.held_back), PLACEMENT_GRACE_PERIOD / 60
            self._reporter.report(
                f"{names} would fit, but Ray might give them the GPUs of a larger model that is not placed yet. "
                f"They wait for at most {minutes:g} minutes."
            )
        slices = self._time_slice()
        for name, plan in decision.starts.items():
            self._start(name, plan, time.time() + slices[name])
        for name, replicas in decision.replicas.items():
            active_run = self._running[name]
            self._reporter.report(f"{name} scales up to {_counted(replicas, 'replica')}: GPUs are free.")
            active_run.replicas = replicas
            active_run.control.set_max_replicas(replicas)

    def _preempt(self) -> None:
        """Release a replica of the model with most replicas for a shared judge, or stop a model that has a single one.

        Otherwise its samples would wait for their verdicts, and the judge for a GPU, for ever.
        """
        holding = [name for name, run in self._running.items() if run.holds_gpus and not run.control.is_stopped]
        if not holding:
            return
        name = max(holding, key=lambda name: (self._running[name].wanted, self._running[name].gpus))
        active_run = self._running[name]
        if active_run.wanted > 1:
            active_run.replicas = active_run.wanted - 1
            active_run.control.set_max_replicas(active_run.replicas)
            self._reporter.report(f"{name} releases a replica: a judge of all models has no GPU.")
        else:
            active_run.control.stop()
            self._reporter.report(f"{name} is preempted: a judge of all models has no GPU.")

    def _free(self) -> ClusterView:
        if not self._view.autoscales:
            return view_free(self._resources)
        now = view_cluster(self._resources)
        return ClusterView(
            view_free(self._resources).nodes, autoscales=True, autoscaler_capacity=now.autoscaler_capacity
        )

    def _time_slice(self) -> dict[str, float]:
        runs = {name: (opened, opened.left) for name, opened in self._waiting.items()}
        runs |= {name: (active_run.opened, active_run.left) for name, active_run in self._running.items()}
        demands = {name: Demand(work(opened, rows), self._needs[name][0].gpus) for name, (opened, rows) in runs.items()}
        gpus = sum(node.gpus for node in self._view.with_autoscaler.nodes)
        return time_slice(self._options.deadline - time.time(), demands, gpus)

    def _start(self, name: str, plan: Plan, until: float) -> None:
        opened = self._waiting.pop(name)
        active_run = ActiveRun(opened, plan, plan.stages[0][0].replicas, until, PrefixedReporter(self._reporter, name))
        placement = Placement(plan, active_run.control, self._judges.shared, self._judges.is_loading)

        def run_to_end() -> None:
            result: Evaluation | BaseException
            try:
                with open_run(opened.config, opened.run, active_run.reporter) as locked:
                    result = finish(locked, active_run.reporter, self._start_engine, placement)
            except BaseException as error:
                result = error
            self._ended.put((name, result))

        self._record.started(name)
        self._reporter.report(f"{name} starts: {_described(plan)}.")
        self._running[name] = active_run
        self._threads[name] = threading.Thread(target=run_to_end, name=f"run-{name}", daemon=True)
        self._threads[name].start()

    def _end_slices(self) -> None:
        """Stop runs whose time slice is over, while others are queued."""
        if not self._waiting:
            return
        for name, active_run in self._running.items():
            if time.time() >= active_run.until and not active_run.control.is_stopped:
                self._reporter.report(f"{name} has used its time slice and is queued again: other models wait.")
                active_run.control.stop()

    def _fail_starved(self) -> None:
        """Report that no run can start. After `stall_timeout_minutes` without a running run the queued runs fail."""
        idle, minutes = self._idle.seconds(not self._running), self._resources.stall_timeout_minutes
        if self._idle.is_due(idle):
            names = ", ".join(self._waiting)
            self._reporter.report(
                f"No GPUs are free for {names}. The sweep waits for them for at most {minutes:g} minutes."
            )
        if idle < minutes * 60:
            return
        free = self._free()
        for name in list(self._waiting):
            del self._waiting[name]
            self._fail(
                name,
                f"No GPUs became free for {minutes:g} minutes.\n{needs_table(self._needs[name], free)}\n"
                "Fix: add nodes, or end the jobs on the others. Rerun the command to resume.",
            )

    def _wait(self) -> None:
        """Wait for a run to end, for one poll interval at most."""
        try:
            name, result = self._ended.get(timeout=POLL_INTERVAL)
        except queue.Empty:
            return
        active_run = self._running.pop(name)
        if isinstance(result, Evaluation):
            self._record.done(name, result.errors)
            self._reporter.report(f"{name} is done: {result.committed:,} samples in this attempt.")
        elif isinstance(result, StreamStoppedError):
            self._slices[name] += 1
            self._queue_again(name, active_run, None)
        elif self._failures_left[name] and not isinstance(result, InputError):
            self._failures_left[name] -= 1
            self._slices[name] += 1
            self._reporter.report(f"{name} failed and is retried: {_reason(result)}")
            self._queue_again(name, active_run, _reason(result))
        else:
            self._fail(name, _reason(result))

    def _queue_again(self, name: str, active_run: ActiveRun, error: str | None) -> None:
        opened = active_run.opened
        try:
            with open_run(opened.config, opened.run, active_run.reporter) as self._waiting[name]:
                pass
        except SafechainError as refused:
            self._fail(name, str(refused))
            return
        self._record.queued(name, error)

    def _fail(self, name: str, reason: str) -> None:
        self._reporter.report(f"{name} failed, the sweep continues: {reason}")
        self._record.failed(name, reason)

    def _stop(self) -> None:
        """Stop all running runs after an interruption or at the deadline; a run that has just ended counts as done."""
        for active_run in self._running.values():
            active_run.control.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for name in self._running:
            self._threads[name].join(max(0.0, deadline - time.monotonic()))
        ended = dict(self._ended.get_nowait() for _ in range(self._ended.qsize()))
        for name, active_run in self._running.items():
            result = ended.get(name)
            if isinstance(result, Evaluation):
                self._record.done(name, result.errors)
                continue
            self._record.queued(name)
            self._waiting[name] = active_run.opened
        self._running.clear()


def in_local_time(seconds: float) -> str:
    """A point in time with the time zone of the driver, which for a job is that of the cluster."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M %Z}"


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, SafechainError) else repr(error)


def _described(plan: Plan) -> str:
    stages = (
        " and ".join(f"{pool.needs.pool} with {_counted(pool.replicas, 'replica')}" for pool in stage)
        for stage in plan.stages
    )
    return ", then ".join(stages)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
