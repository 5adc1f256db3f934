"""A training on the cluster: Ray Train's workers, started again where they die, watched from the driver's thread.

How the workers of a training stand on the cluster, or why they can't: refused with a table before any starts.
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

from safechain_ray.cluster.failures import explain
from safechain_ray.cluster.planner import ClusterView, PoolNeeds, fits, needs_table
from safechain_ray.cluster.training.events import Failed, Finished, TrainingEvent
from safechain_ray.cluster.training.worker import TrainingTask, work
from safechain_ray.errors import PlanError, SafechainError, StallError

POLL_INTERVAL = 0.5

RPC_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Workers:
    """What is asked of the cluster: `count` workers with so many CPUs each, and a GPU where `on_gpus`."""

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
    hear: Callable[[TrainingEvent], None],
    report: Callable[[str], None],
) -> Finished:
    """Train to the end; `hear` gets the workers' news, in the driver's thread.

    Workers that die start again together from the last checkpoint, at most `max_deaths` times; a node that is taken
    back does not count. It is not left to Ray's own retries: they would repeat what only a person can fix, such as a
    full disk. Raises the SafechainError of a worker, StallError when nothing is heard for too long.
    """
    watch = _Watch(task.board, workers.stall_seconds, hear)
    deaths = 0
    while True:
        error = watch.until_end(_trainer(task, workers, log_folder))
        if watch.finished is not None:
            return watch.finished
        known = next((failed.error for failed in watch.failures if failed.error is not None), None)
        if known is not None:
            raise known
        if not isinstance(error, WorkerGroupError | PreemptionError):
            raise SafechainError(f"Ray Train gave the training up: {_first_line(error)}. Its logs: {log_folder}")
        how = _how(error, watch.failures)
        if _was_taken_back(error):
            report(f"{how}. All workers start again from the last checkpoint.")
            watch.failures = []
            continue
        deaths += 1
        if deaths > workers.max_deaths:
            raise SafechainError(
                f"Training workers died {deaths} times, the last time so: {how}. The same command goes on from the "
                f"last checkpoint. The workers' logs: {log_folder}"
            ) from error
        again = f"{deaths} of at most {workers.max_deaths} times"
        report(f"{how}. All workers start again from the last checkpoint ({again}).")
        watch.failures = []


def _trainer(task: TrainingTask, workers: Workers, log_folder: Path) -> Any:
    from ray.train.torch import TorchTrainer  # wants torch, which a driver that only plans may lack

    resources = {"CPU": workers.cpus} | ({"GPU": 1.0} if workers.on_gpus else {})
    return TorchTrainer(
        work,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.on_gpus,
            resources_per_worker=resources,
            accelerator_type=workers.accelerator if workers.on_gpus else None,
        ),
        run_config=RunConfig(
            name=f"training-{task.training}",
            storage_path=str(log_folder / "train"),  # Ray's own notes: checkpoints go to the output
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )


class _Watch:
    """Hears the board while Ray Train works in a thread of its own: so the driver's can be interrupted."""

    def __init__(self, board: Any, stall_seconds: float, hear: Callable[[TrainingEvent], None]) -> None:
        self._board = board
        self._stall_seconds = stall_seconds
        self._hear = hear
        self._heard = 0
        self._moved = time.monotonic()
        self.finished: Finished | None = None
        self.failures: list[Failed] = []

    def until_end(self, trainer: Any) -> BaseException | None:
        """What Ray Train raised, as it was; None where the workers came to their end."""
        ended: list[BaseException | None] = []

        def fit() -> None:
            try:
                trainer.fit()
                ended.append(None)
            except BaseException as error:
                ended.append(error)

        self._moved = time.monotonic()
        thread = threading.Thread(target=fit, name="training", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL_INTERVAL)
            self._look()
            idle = time.monotonic() - self._moved
            if idle >= self._stall_seconds:
                raise StallError(
                    f"No news of the training for {idle / 60:.1f} minutes: its workers wait for resources, are still "
                    "loading, or stand still (see `ray status`). Completed work is saved. Rerun the command to resume. "
                    "A longer --stall-timeout waits longer."
                )
        self._look()
        return ended[0]

    def _look(self) -> None:
        news: list[TrainingEvent] = []
        with suppress(GetTimeoutError):
            news = ray.get(self._board.since.remote(self._heard), timeout=RPC_TIMEOUT)
        for each in news:
            self._heard += 1
            self._moved = time.monotonic()
            if isinstance(each, Finished):
                self.finished = each
            elif isinstance(each, Failed):
                self.failures.append(each)
            else:
                self._hear(each)


def _was_taken_back(error: BaseException | None) -> bool:
    """Whether a cloud took a node back, as it said before or as is seen by the workers that went with it."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    causes = (getattr(failure, "health_check_failure", failure) for failure in failures)
    return isinstance(error, PreemptionError) or any(getattr(cause, "preempted", False) for cause in causes)


def _how(error: BaseException | None, failures: list[Failed]) -> str:
    """Which workers went, and why: those that died without a word before those that had still something to say."""
    if _was_taken_back(error):
        return "A node with training workers was taken back"
    spoke = {failed.rank for failed in failures}
    silent = sorted(set(error.worker_failures) - spoke) if isinstance(error, WorkerGroupError) else []
    if silent:
        return f"Training worker {', '.join(map(str, silent))} died"
    first = failures[0]
    return f"Training worker {first.rank} failed ({first.reason})"


def _first_line(error: BaseException | None) -> str:
    cause = explain(error) if error is not None else None
    return next(iter(str(cause).splitlines()), type(cause).__name__)


def check_workers(worker: PoolNeeds, workers: int, view: ClusterView) -> str | None:
    """What there is to say where the workers find a place only when the autoscaler brings nodes.

    Raises PlanError where all of them can't stand at the same time.
    """
    if fits([worker] * workers, view):
        return None
    if view.autoscales and (not view.may_come or fits([worker] * workers, view.grown)):
        return "The nodes that are up don't hold all workers: the autoscaler is asked for more."
    grown = view.grown
    count = next((count for count in range(workers - 1, 0, -1) if fits([worker] * count, grown)), 0)
    fix = f"take {count} workers (--workers {count})" if count else "take a cluster whose nodes hold a worker"
    if worker.gpus and not view.has_gpus:
        fix = "join a cluster with GPUs (--ray-address or RAY_ADDRESS), or insist on CPUs with --device cpu"
    elif worker.gpus and view.accelerator is not None:
        fix += f"; only GPUs that Ray calls {view.accelerator!r} count here"
    raise PlanError(
        f"The cluster can't hold {workers} training workers at the same time: {count or 'none'} of them fit.\n"
        f"{needs_table([replace(worker, pool='each worker')], grown)}\nFix: {fix}, or add nodes."
    )
