"""Training on the cluster: Ray Train's workers, restarted after a death, with a watchdog in the driver's thread.

`check_workers` refuses workers that do not fit the cluster, with a table, before any worker starts.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train import FailureConfig, LoggingConfig, PreemptionError, RunConfig, ScalingConfig, WorkerGroupError

from safechain_ray.cluster.planner import ClusterView, PoolNeeds, fits, needs_table
from safechain_ray.cluster.session import explain
from safechain_ray.cluster.training.events import Failed, Finished, TrainingEvent
from safechain_ray.cluster.training.worker import TrainingTask, run_worker
from safechain_ray.errors import PlanError, SafechainError, StallError

POLL_INTERVAL = 0.5

RPC_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Workers:
    """Requested workers: `count` workers with `cpus` CPUs each, and one GPU each where `on_gpus`."""

    count: int
    on_gpus: bool
    cpus: float
    accelerator: str | None
    max_deaths: int
    stall_seconds: float


def run_training(
    task: TrainingTask,
    workers: Workers,
    log_folder: Path,
    on_event: Callable[[TrainingEvent], None],
    report: Callable[[str], None],
) -> Finished:
    """Train until the end. `on_event` receives the events of the workers, in the driver's thread.

    After a death all workers restart from the last checkpoint, at most `max_deaths` times. An interrupted spot node
    does not count as a death. Ray's own retries are off: they would also repeat errors that need a fix, such as a full
    disk.

    Raises:
        SafechainError: A worker failed with an error that needs a fix, or workers died too often.
        StallError: No event arrived for `stall_seconds`.
    """
    watch = _Watch(task.event_log, workers.stall_seconds, on_event)
    deaths = 0
    while True:
        error = watch.until_end(_trainer(task, workers, log_folder))
        if watch.finished is not None:
            return watch.finished
        known = next((failed.error for failed in watch.failures if failed.error is not None), None)
        if known is not None:
            raise known
        if not isinstance(error, WorkerGroupError | PreemptionError):
            raise SafechainError(
                f"Ray Train ended the training: {_first_line(error)}. Fix: correct the cause (its logs are in "
                f"{log_folder}), then rerun the command to resume from the last checkpoint."
            )
        cause = _cause_sentence(error, watch.failures)
        if _was_interrupted(error):
            report(f"{cause}. All workers restart from the last checkpoint.")
            watch.failures = []
            continue
        deaths += 1
        if deaths > workers.max_deaths:
            raise SafechainError(
                f"Training workers died {deaths} times. The last time: {cause}. Fix: see the workers' logs in "
                f"{log_folder}, then rerun the command to resume from the last checkpoint."
            ) from error
        again = f"{deaths} of at most {workers.max_deaths} times"
        report(f"{cause}. All workers restart from the last checkpoint ({again}).")
        watch.failures = []


def _trainer(task: TrainingTask, workers: Workers, log_folder: Path) -> Any:
    from ray.train.torch import TorchTrainer  # needs torch, which a driver that only plans may lack

    resources = {"CPU": workers.cpus} | ({"GPU": 1.0} if workers.on_gpus else {})
    return TorchTrainer(
        run_worker,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.on_gpus,
            resources_per_worker=resources,
            accelerator_type=workers.accelerator if workers.on_gpus else None,
        ),
        run_config=RunConfig(
            name=f"training-{task.training}",
            storage_path=str(log_folder / "train"),  # Ray's own state; checkpoints go to the output
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


class _Watch:
    """Polls the event log while Ray Train runs in another thread, so that the driver's thread can be interrupted."""

    def __init__(self, event_log: Any, stall_seconds: float, on_event: Callable[[TrainingEvent], None]) -> None:
        self._event_log = event_log
        self._stall_seconds = stall_seconds
        self._on_event = on_event
        self._received = 0
        self._last_event = time.monotonic()
        self.finished: Finished | None = None
        self.failures: list[Failed] = []

    def until_end(self, trainer: Any) -> BaseException | None:
        """Run the trainer; gives the exception of Ray Train, or None where all workers finished."""
        ended: list[BaseException | None] = []

        def fit() -> None:
            try:
                trainer.fit()
                ended.append(None)
            except BaseException as error:
                ended.append(error)

        self._last_event = time.monotonic()
        thread = threading.Thread(target=fit, name="training", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL_INTERVAL)
            self._poll()
            idle = time.monotonic() - self._last_event
            if idle >= self._stall_seconds:
                raise StallError(
                    f"No progress of the training for {idle / 60:.1f} minutes: its workers wait for resources, are "
                    "still loading, or are stuck (see `ray status`). Checkpoints are kept. Fix: rerun the command to "
                    "resume, or set a longer --stall-timeout."
                )
        self._poll()
        return ended[0]

    def _poll(self) -> None:
        events: list[TrainingEvent] = []
        with suppress(GetTimeoutError):
            events = ray.get(self._event_log.since.remote(self._received), timeout=RPC_TIMEOUT)
        for event in events:
            self._received += 1
            self._last_event = time.monotonic()
            if isinstance(event, Finished):
                self.finished = event
            elif isinstance(event, Failed):
                self.failures.append(event)
            else:
                self._on_event(event)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether a cloud interrupted a spot node, by its notice or by the workers that died with the node."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    causes = (getattr(failure, "health_check_failure", failure) for failure in failures)
    return isinstance(error, PreemptionError) or any(getattr(cause, "preempted", False) for cause in causes)


def _cause_sentence(error: BaseException | None, failures: list[Failed]) -> str:
    """The workers that failed, and why. Workers that died without an event are named first."""
    if _was_interrupted(error):
        return "A spot node with training workers was interrupted"
    reported = {failed.rank for failed in failures}
    silent = sorted(set(error.worker_failures) - reported) if isinstance(error, WorkerGroupError) else []
    if silent:
        return f"Training worker {', '.join(map(str, silent))} died"
    first = failures[0]
    return f"Training worker {first.rank} failed ({first.reason})"


def _first_line(error: BaseException | None) -> str:
    cause = explain(error) if error is not None else None
    return next(iter(str(cause).splitlines()), type(cause).__name__)


def check_workers(worker: PoolNeeds, workers: int, view: ClusterView) -> str | None:
    """Check that all workers fit the cluster at the same time; gives a note where the autoscaler must add nodes first.

    Raises:
        PlanError: The workers do not fit.
    """
    if fits([worker] * workers, view):
        return None
    if view.autoscales and (not view.autoscaler_capacity or fits([worker] * workers, view.with_autoscaler)):
        return "The workers do not fit the nodes that are up: the autoscaler is asked for more."
    largest = view.with_autoscaler
    count = next((count for count in range(workers - 1, 0, -1) if fits([worker] * count, largest)), 0)
    fix = f"use {count} workers (--workers {count})" if count else "use a cluster with nodes that fit a worker"
    reason = ""
    if worker.gpus and not view.has_gpus:
        fix = "join a cluster with GPUs (--ray-address or RAY_ADDRESS), or force CPUs with --device cpu"
    elif worker.gpus and view.accelerator is not None:
        reason = f" Only GPUs that Ray calls {view.accelerator!r} count here."
    raise PlanError(
        f"{workers} training workers do not fit the cluster at once: {count or 'none'} of them fit.{reason}\n"
        f"{needs_table([replace(worker, pool='each worker')], largest)}\nFix: {fix}, or add nodes."
    )
