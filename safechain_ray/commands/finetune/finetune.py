"""The finetune command: tokenise demonstrations, train on several workers, write the model to the output.

The driver checks the packages of a training before anything starts. While the workers train, it turns their events into
metrics.jsonl, the record, and progress for a person.
"""

import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import Any, Protocol

import ray

from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.cluster.training.events import (
    TRAINING,
    Finished,
    Logged,
    Note,
    Phase,
    Started,
    StepDone,
    TrainingEvent,
    start_event_log,
)
from safechain_ray.cluster.training.run import Workers, run_training
from safechain_ray.cluster.training.worker import TrainingTask
from safechain_ray.commands.finetune.plan import DataPlan, TrainingPlan, check_training, plan_data, plan_training
from safechain_ray.commands.finetune.record import FinetuneFile, FinetuneRecord
from safechain_ray.commands.finetune.resolve import (
    BaseModelSpec,
    TrainingData,
    finetune_identity,
    resolve_base_model,
    resolve_training_data,
)
from safechain_ray.config import FinetuneConfig
from safechain_ray.config.parts import TrackerName
from safechain_ray.errors import InputError, StoreUnavailableError
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import Reporter
from safechain_ray.storage import Folder, without_secrets
from safechain_ray.trackers.base import missing_packages
from safechain_ray.training.checkpoints import MODEL


@dataclass(frozen=True, slots=True)
class TrainingSnapshot:
    """Progress of a training: `step` of `steps` (0: not known yet), `resumed_from` of them before this attempt.

    The attempt started `seconds` ago. `phase` is the current phase of the workers. `logged` has the latest figures by
    their names in metrics.jsonl.
    """

    phase: str
    step: int = 0
    steps: int = 0
    resumed_from: int = 0
    seconds: float = 0.0
    steps_per_second: float | None = None
    tokens_per_second: float | None = None
    logged: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float | None:
        return (self.steps - self.step) / self.steps_per_second if self.steps_per_second else None


class TrainingReporter(Reporter, Protocol):
    """Shows a training's progress. `update` gets a snapshot for each event."""

    def update(self, snapshot: TrainingSnapshot) -> None: ...


class TrainingRecorder:
    """A reporter for library use: stores the sentences and the last snapshot."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.last: TrainingSnapshot | None = None

    def report(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def update(self, snapshot: TrainingSnapshot) -> None:
        self.last = snapshot


METRICS = "metrics.jsonl"

WRITE_SECONDS = 5.0

REMOTE_WRITE_SECONDS = 15.0
"""An object store takes a request for each write, and some bill it."""


class TrainingLog:
    """Receives the training events of one attempt."""

    def __init__(self, folder: Folder, record: FinetuneRecord, reporter: TrainingReporter) -> None:
        self._folder = folder
        self._record = record
        self._reporter = reporter
        self._lines: list[Mapping[str, float]] = []
        self._started = self._began = time.monotonic()
        self._tokens_before = 0.0
        self._written = 0.0
        self._every = WRITE_SECONDS if folder.is_local else REMOTE_WRITE_SECONDS
        self._snapshot = TrainingSnapshot("waiting for the workers")

    def receive(self, event: TrainingEvent) -> None:
        match event:
            case Note(sentence):
                self._reporter.report(sentence)
                return
            case Phase(name):
                self._snapshot = replace(self._snapshot, phase=name)
            case Started(step, history):
                self._begin(step, history)
            case StepDone(step, steps):
                self._step(step, steps)
            case Logged(values):
                self._lines.append(values)
                self._log(values)
        self._reporter.update(replace(self._snapshot, seconds=time.monotonic() - self._started))

    def close(self) -> None:
        """Write the remaining lines. A silent store is not waited for."""
        with suppress(StoreUnavailableError):
            self._write(self._folder.without_retry())

    def _begin(self, step: int, history: tuple[Mapping[str, float], ...]) -> None:
        self._lines = list(history)
        self._began = time.monotonic()
        self._tokens_before = max((line["num_tokens"] for line in history if "num_tokens" in line), default=0.0)
        if step:
            self._reporter.report(f"The training resumes after step {step:,}.")
        self._record.began(step)
        self._snapshot = TrainingSnapshot(TRAINING, step=step, resumed_from=step)

    def _step(self, step: int, steps: int) -> None:
        spent = time.monotonic() - self._began
        speed = (step - self._snapshot.resumed_from) / spent
        self._snapshot = replace(self._snapshot, step=step, steps=steps, steps_per_second=speed)

    def _log(self, values: Mapping[str, float]) -> None:
        tokens = values.get("num_tokens")
        speed = self._snapshot.tokens_per_second
        if tokens is not None:
            speed = (tokens - self._tokens_before) / (time.monotonic() - self._began)
        self._snapshot = replace(self._snapshot, logged={**self._snapshot.logged, **values}, tokens_per_second=speed)
        if time.monotonic() - self._written >= self._every and not self._folder.is_unavailable:
            with suppress(StoreUnavailableError):
                self._write(self._folder.without_retry())

    def _write(self, folder: Folder) -> None:
        folder.write_text(METRICS, "".join(json.dumps(line) + "\n" for line in self._lines))
        self._written = time.monotonic()


PACKAGES = ("torch", "trl", "accelerate", "peft")


def check_packages(trackers: Collection[TrackerName]) -> None:
    """Raises InputError with what to install."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise InputError(
            f"Fine-tuning needs packages that are not installed here ({', '.join(missing)}). "
            "Fix: pip install 'safechain-ray[train]', on all nodes."
        )
    if missing := missing_packages(trackers):
        raise InputError(
            f"training.report_to names {' and '.join(missing)}, not installed here. Fix: pip install "
            f"{' '.join(missing)}, on all nodes; or leave it out."
        )


@dataclass(frozen=True, slots=True)
class FineTuning:
    """Result of a training: its folder and its finetune.json."""

    folder: Folder
    record: FinetuneFile

    @property
    def model(self) -> Folder:
        return self.folder / MODEL


def plan_finetune(config: FinetuneConfig) -> tuple[BaseModelSpec, TrainingPlan, DataPlan]:
    """The plan of `finetune` on this cluster, and its data."""
    base = resolve_base_model(config.model)
    data = plan_data(config, base)
    if cluster_address(config.resources.ray_address) is None:
        return base, plan_training(config, base, view_local()), data
    with ray_session(config.resources.ray_address):
        return base, plan_training(config, base, view_cluster(config.resources)), data


def finetune(config: FinetuneConfig, reporter: TrainingReporter) -> FineTuning:
    """Train to the end. It resumes from the last whole checkpoint of an earlier attempt.

    Leaves model/, checkpoints/, metrics.jsonl and finetune.json in the output. Whole checkpoints stay
    in any case.

    Raises:
        InputError, PlanError, RunConflictError, OutputLockedError: Before anything starts.
        StorageError, StallError, other SafechainErrors of the workers: While it runs.
    """
    check_packages(config.training.report_to)
    base = resolve_base_model(config.model)
    if cluster_address(config.resources.ray_address) is None:
        check_training(config, base, view_local())
    training_data = resolve_training_data(config, base)
    identity = finetune_identity(config, base, training_data)
    with lock_output(config.output, config.resources, reporter) as locked:
        folder = locked.folder
        facts = {"training_set": _facts(training_data)}
        record = FinetuneRecord.opened(folder, identity, without_secrets(config.model_dump(mode="json")), facts)
        if record.is_finished and folder.exists(f"{MODEL}/config.json"):
            reporter.report("The training is finished already: no worker is started.")
            return FineTuning(folder, record.content)
        columns = ", ".join(training_data.source.columns.values())
        reporter.report(f"{training_data.source.source} (columns {columns}): {training_data.learnt.counts.sentence}")
        outcome = _train(config, base, training_data, folder, record, reporter)
        record.finished(outcome)
        return FineTuning(folder, record.content)


def _train(
    config: FinetuneConfig,
    base: BaseModelSpec,
    training_data: TrainingData,
    folder: Folder,
    record: FinetuneRecord,
    reporter: TrainingReporter,
) -> Finished:
    resources = config.resources
    with ray_session(resources.ray_address, reporter.report) as log_folder:
        view = view_cluster(resources)
        plan = check_training(config, base, view)
        for note in plan.notes:
            reporter.report(note)
        record.started(plan, view)
        log = TrainingLog(folder, record, reporter)
        task = TrainingTask(
            model=base.entry.source,
            revision=base.entry.revision,
            family=base.family,
            chat_template=base.entry.chat_template,
            learnt=ray.put(training_data.learnt),
            held_out=ray.put(training_data.held_out),
            options=config.training,
            output=folder,
            training=record.training,
            scratch=resources.scratch,
            storage_timeout=resources.storage_patience_minutes * 60,
            event_log=start_event_log(),
        )
        workers = Workers(
            count=plan.workers,
            on_gpus=plan.device == "cuda",
            cpus=resources.cpus_per_worker,
            accelerator=resources.accelerator,
            max_deaths=resources.max_worker_deaths,
            stall_seconds=resources.stall_timeout_minutes * 60,
        )
        reporter.report(f"{plan.workers} workers start. Their logs: {log_folder}")
        failure: BaseException | None = None
        try:
            return run_training(task, workers, log_folder, log.receive, reporter.report)
        except BaseException as error:
            failure = error
            raise
        finally:
            log.close()
            record.ended(failure)


def _facts(training_data: TrainingData) -> dict[str, Any]:
    held_out = training_data.held_out
    return {
        "source": training_data.source.source,
        "fingerprint": training_data.source.fingerprint,
        "columns": dict(training_data.source.columns),
        "rows_left_out": dict(training_data.source.left_out),
        "learnt": asdict(training_data.learnt.counts),
        "held_out": None if held_out is None else asdict(held_out.counts),
    }
