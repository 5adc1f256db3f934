"""The schedule of a sweep: starts runs where there is room, lets them grow, takes turns, tries again what failed."""

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
    JudgesAtWork,
    Lasting,
    Share,
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
    """How a sweep goes about it.

    A run that fails is tried again `retries` times, after those that wait; `at_once` runs work side by side at most; at
    `deadline` (seconds since the epoch) all stop, and until then models that wait for room take turns.
    """

    retries: int = 1
    at_once: int = 16
    deadline: float = math.inf


class Schedule:
    """Brings runs of a sweep to their ends, on the Ray that the driver has joined. `run` is called once."""

    def __init__(
        self,
        waiting: dict[str, OpenRun],
        record: SweepRecord,
        reporter: RunReporter,
        start_engine: StartEngine,
        logs: Path,
        manner: SweepOptions,
    ) -> None:
        self._waiting = waiting
        self._running: dict[str, ActiveRun] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._record = record
        self._reporter = reporter
        self._start_engine = start_engine
        self._manner = manner
        self._failures_left = dict.fromkeys(waiting, manner.retries)
        self._turns = dict.fromkeys(waiting, 0)
        self._ended: queue.Queue[tuple[str, Evaluation | BaseException]] = queue.Queue()
        self._resources = next(iter(waiting.values())).config.resources
        self._view = view_cluster(self._resources)
        self._idle = Lasting()
        self._held = Lasting()
        self._refuse_what_no_engine_runs()
        self._judges = self._share_judges(logs)
        self._needs = {name: self._needs_of(opened) for name, opened in self._waiting.items()}

    def run(self) -> None:
        """Raises nothing that a run raises. An interruption and the deadline stop all runs and leave them queued."""
        self._refuse_what_never_fits()
        if math.isfinite(self._manner.deadline):
            self._reporter.report(f"Time is up at {in_local_time(self._manner.deadline)}.")
        try:
            while (self._waiting or self._running) and time.time() < self._manner.deadline:
                self._pack()
                self._end_turns()
                self._wait()
                self._give_up_in_the_end()
        finally:
            self._stop()
        for name, opened in self._waiting.items():
            self._reporter.report(f"Time is up before {name} is finished; the same command goes on with it.")
            try:
                with open_run(opened.config, opened.run, PrefixedReporter(self._reporter, name)) as held:
                    measure_so_far(held)
            except SafechainError as error:
                self._reporter.report(f"What {name} has so far could not be measured: {error}")

    def _share_judges(self, logs: Path) -> JudgesAtWork:
        runs = list(self._waiting.values())
        pools = shared_pools(runs, self._view) if runs else ()
        if not pools:
            return JudgesAtWork((), None, self._reporter)
        judges = {judge.name: judge for judge in runs[0].run.judges}
        progress_tracker = start_progress_tracker()
        settings = StreamSettings.of(self._resources, self._start_engine, logs, progress_tracker)
        shared = []
        for pool in pools:
            self._reporter.report(
                f"{pool.needs.pool} judges for all models, with {_counted(pool.replicas, 'replica')}."
            )
            shared.append(start_shared_judge(pool, judges[pool.needs.pool], runs[0].run.parts, settings))
        return JudgesAtWork(tuple(shared), progress_tracker, self._reporter)

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
            WaitingRun(name, self._needs[name], work(opened, opened.left), self._turns[name])
            for name, opened in self._waiting.items()
        ]
        running = [active_run.seen(name) for name, active_run in self._running.items()]
        free, judges = self._free(), self._judges.to_come()
        if self._judges.want_room(judges, free):
            self._make_room()
        decision = schedule_runs(waiting, running, free, self._manner.at_once, judges)
        if self._held.is_to_tell(self._held.seconds(bool(decision.held_back))):
            names, minutes = ", ".join(decision.held_back), PLACEMENT_GRACE_PERIOD / 60
            self._reporter.report(
                f"There is room for {names}, but a larger model has no place yet, and Ray might put them in its way: "
                f"they wait, at most {minutes:g} minutes."
            )
        turns = self._time_slice()
        for name, plan in decision.starts.items():
            self._start(name, plan, time.time() + turns[name])
        for name, replicas in decision.replicas.items():
            active_run = self._running[name]
            self._reporter.report(f"{name} may have {_counted(replicas, 'replica')}: there is room.")
            active_run.replicas = replicas
            active_run.control.set_max_replicas(replicas)

    def _make_room(self) -> None:
        """For a shared judge: the model with most replicas gives up one, or gives way where it has a single one.

        Else its samples would wait for their verdicts, and the judge for a place, for ever.
        """
        holding = [name for name, run in self._running.items() if run.holds_gpus and not run.control.is_stopped]
        if not holding:
            return
        name = max(holding, key=lambda name: (self._running[name].wanted, self._running[name].gpus))
        active_run = self._running[name]
        if active_run.wanted > 1:
            active_run.replicas = active_run.wanted - 1
            active_run.control.set_max_replicas(active_run.replicas)
            self._reporter.report(f"{name} gives up a replica: a judge for all models has no place.")
        else:
            active_run.control.stop()
            self._reporter.report(f"{name} gives way: a judge for all models has no place.")

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
        shares = {name: Share(work(opened, rows), self._needs[name][0].gpus) for name, (opened, rows) in runs.items()}
        gpus = sum(node.gpus for node in self._view.with_autoscaler.nodes)
        return time_slice(self._manner.deadline - time.time(), shares, gpus)

    def _start(self, name: str, plan: Plan, until: float) -> None:
        opened = self._waiting.pop(name)
        active_run = ActiveRun(opened, plan, plan.stages[0][0].replicas, until, PrefixedReporter(self._reporter, name))
        placement = Placement(plan, active_run.control, self._judges.shared, self._judges.is_loading)

        def bring_to_its_end() -> None:
            result: Evaluation | BaseException
            try:
                with open_run(opened.config, opened.run, active_run.reporter) as held:
                    result = finish(held, active_run.reporter, self._start_engine, placement)
            except BaseException as error:
                result = error
            self._ended.put((name, result))

        self._record.started(name)
        self._reporter.report(f"{name} starts: {_described(plan)}.")
        self._running[name] = active_run
        self._threads[name] = threading.Thread(target=bring_to_its_end, name=f"run-{name}", daemon=True)
        self._threads[name].start()

    def _end_turns(self) -> None:
        """Stop runs whose turn is over, as long as others wait for their room."""
        if not self._waiting:
            return
        for name, active_run in self._running.items():
            if time.time() >= active_run.until and not active_run.control.is_stopped:
                self._reporter.report(f"{name} gives way to those that wait; it goes on when it is its turn again.")
                active_run.control.stop()

    def _give_up_in_the_end(self) -> None:
        """Nothing runs and nothing starts: that is told, and after `stall_timeout_minutes` what waits has failed."""
        idle, minutes = self._idle.seconds(not self._running), self._resources.stall_timeout_minutes
        if self._idle.is_to_tell(idle):
            names = ", ".join(self._waiting)
            self._reporter.report(f"There is no room for {names} now: it is waited for, at most {minutes:g} minutes.")
        if idle < minutes * 60:
            return
        free = self._free()
        for name in list(self._waiting):
            del self._waiting[name]
            self._fail(
                name,
                f"No room came free for {minutes:g} minutes.\n{needs_table(self._needs[name], free)}\n"
                "Fix: add nodes, or end what holds the others; the same command goes on.",
            )

    def _wait(self) -> None:
        """Wait for a run to end, no longer than a tick."""
        try:
            name, result = self._ended.get(timeout=POLL_INTERVAL)
        except queue.Empty:
            return
        active_run = self._running.pop(name)
        if isinstance(result, Evaluation):
            self._record.done(name, result.errors)
            self._reporter.report(f"{name} is done: {result.committed:,} samples in this try.")
        elif isinstance(result, StreamStoppedError):
            self._turns[name] += 1
            self._queue_again(name, active_run, None)
        elif self._failures_left[name] and not isinstance(result, InputError):
            self._failures_left[name] -= 1
            self._turns[name] += 1
            self._reporter.report(f"{name} failed and is tried again: {_reason(result)}")
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
        self._reporter.report(f"{name} failed, the sweep goes on: {reason}")
        self._record.failed(name, reason)

    def _stop(self) -> None:
        """Stop what runs still, after an interruption or when time is up; what was done just before is done."""
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
    """A point in time as a person at the driver reads it, with the time zone: that of a job is the cluster's."""
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
