"""Fine-tuning: demonstrations become tokens, workers learn them together, and the model lies in the output.

The packages that a training takes beside the project's own: asked for before anything starts.

They are looked for where the driver runs; its nodes are to have the same.

What the driver makes of the workers' news: metrics.jsonl, the record, and what a person sees.

How far a training is, and who is told.
"""

import json
import time
from collections.abc import Iterable, Mapping
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
from safechain_ray.commands.finetune.record import FinetuneRecord
from safechain_ray.commands.finetune.resolve import (
    BaseModelSpec,
    TrainingData,
    finetune_identity,
    resolve_lessons,
    resolve_trainee,
)
from safechain_ray.config import FinetuneConfig
from safechain_ray.config.finetune import Tracker
from safechain_ray.errors import InputError, StoreSilentError
from safechain_ray.runs.output import lock_output
from safechain_ray.runs.progress import Reporter
from safechain_ray.storage import Folder, without_secrets
from safechain_ray.training.checkpoint_store import MODEL


@dataclass(frozen=True, slots=True)
class TrainingSnapshot:
    """`step` of `steps` (0: not known yet) is done, `resumed_from` of them before this try, which is `seconds` old.

    `phase` says what the workers do now; `logged` has the last figures by their names in metrics.jsonl.
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


class TrainingObserver(Reporter, Protocol):
    """Shows a training's progress. `update` gets a snapshot for whatever is new."""

    def update(self, snapshot: TrainingSnapshot) -> None: ...


class SilentTraining:
    """An observer for library use: keeps the sentences and the last snapshot."""

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

"""An object store takes a request for each writing, and some bill it."""


class TrainingLog:
    """Hears the news of one try."""

    def __init__(self, folder: Folder, record: FinetuneRecord, reporter: TrainingObserver) -> None:
        self._folder = folder
        self._record = record
        self._reporter = reporter
        self._lines: list[Mapping[str, float]] = []
        self._started = self._began = time.monotonic()
        self._tokens_before = 0.0
        self._written = 0.0
        self._every = WRITE_SECONDS if folder.is_local else REMOTE_WRITE_SECONDS
        self._snapshot = TrainingSnapshot("waiting for the workers")

    def hear(self, news: TrainingEvent) -> None:
        match news:
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
        """Write what has not been written; a silent store is not waited for."""
        with suppress(StoreSilentError):
            self._write(self._folder.impatient())

    def _begin(self, step: int, history: tuple[Mapping[str, float], ...]) -> None:
        self._lines = list(history)
        self._began = time.monotonic()
        self._tokens_before = max((line["num_tokens"] for line in history if "num_tokens" in line), default=0.0)
        if step:
            self._reporter.report(f"The training goes on after step {step:,}.")
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
        if time.monotonic() - self._written >= self._every and not self._folder.is_silent:
            with suppress(StoreSilentError):
                self._write(self._folder.impatient())

    def _write(self, folder: Folder) -> None:
        folder.write_text(METRICS, "".join(json.dumps(line) + "\n" for line in self._lines))
        self._written = time.monotonic()


PACKAGES = ("torch", "trl", "accelerate", "peft")


def check_packages(trackers: Iterable[Tracker]) -> None:
    """Raises InputError with what to install. A tracker's package goes by the tracker's name."""
    missing = _missing(PACKAGES)
    if missing:
        raise InputError(
            f"Fine-tuning needs packages that are not installed here ({', '.join(missing)}): "
            "pip install 'safechain-ray[train]', on all nodes."
        )
    missing = _missing(trackers)
    if missing:
        raise InputError(
            f"training.report_to names {' and '.join(missing)}, not installed here: pip install {' '.join(missing)}, "
            "on all nodes; or leave it out."
        )


def _missing(packages: Iterable[str]) -> list[str]:
    return [package for package in packages if find_spec(package) is None]


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How it ended: the folder, and its record as finetune.json has it."""

    folder: Folder
    record: dict[str, Any]

    @property
    def model(self) -> Folder:
        return self.folder / MODEL


def plan_finetune(config: FinetuneConfig) -> tuple[BaseModelSpec, TrainingPlan, DataPlan]:
    """What `finetune` would take on this cluster, and what it would learn."""
    trainee = resolve_trainee(config.model)
    data = plan_data(config, trainee)
    if cluster_address(config.resources.ray_address) is None:
        return trainee, plan_training(config, trainee, view_local()), data
    with ray_session(config.resources.ray_address):
        return trainee, plan_training(config, trainee, view_cluster(config.resources)), data


def finetune(config: FinetuneConfig, reporter: TrainingObserver) -> FineTuning:
    """Train to the end, going on from the last whole checkpoint of an earlier try.

    Leaves model/, checkpoints/, metrics.jsonl and finetune.json in the output. Raises InputError (PlanError and
    RunConflictError among it) and OutputHeldError before anything starts; StorageError, StallError and other
    SafechainErrors of the workers while it runs. Whole checkpoints are kept in any case.
    """
    check_packages(config.training.report_to)
    trainee = resolve_trainee(config.model)
    if cluster_address(config.resources.ray_address) is None:
        check_training(config, trainee, view_local())
    lessons = resolve_lessons(config, trainee)
    identity = finetune_identity(config, trainee, lessons)
    with lock_output(config.output, config.resources, reporter) as held:
        folder = held.folder
        facts = {"training_set": _facts(lessons)}
        record = FinetuneRecord.opened(folder, identity, without_secrets(config.model_dump(mode="json")), facts)
        if record.is_finished and folder.exists(f"{MODEL}/config.json"):
            reporter.report("The training is finished already: no worker is started.")
            return FineTuning(folder, record.content)
        columns = ", ".join(lessons.source.columns.values())
        reporter.report(f"{lessons.source.source} (columns {columns}): {lessons.learnt.counts.sentence}")
        outcome = _trained(config, trainee, lessons, folder, record, reporter)
        record.finished(outcome)
        return FineTuning(folder, record.content)


def _trained(
    config: FinetuneConfig,
    trainee: BaseModelSpec,
    lessons: TrainingData,
    folder: Folder,
    record: FinetuneRecord,
    reporter: TrainingObserver,
) -> Finished:
    resources = config.resources
    with ray_session(resources.ray_address, reporter.report) as log_folder:
        view = view_cluster(resources)
        plan = check_training(config, trainee, view)
        for note in plan.notes:
            reporter.report(note)
        record.started(plan, view)
        log = TrainingLog(folder, record, reporter)
        task = TrainingTask(
            model=trainee.entry.source,
            revision=trainee.entry.revision,
            family=trainee.family,
            chat_template=trainee.entry.chat_template,
            learnt=ray.put(lessons.learnt),
            held_out=ray.put(lessons.held_out),
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
            return run_training(task, workers, log_folder, log.hear, reporter.report)
        except BaseException as error:
            failure = error
            raise
        finally:
            log.close()
            record.ended(failure)


def _facts(lessons: TrainingData) -> dict[str, Any]:
    held_out = lessons.held_out
    return {
        "source": lessons.source.source,
        "fingerprint": lessons.source.fingerprint,
        "columns": dict(lessons.source.columns),
        "rows_left_out": dict(lessons.source.left_out),
        "learnt": asdict(lessons.learnt.counts),
        "held_out": None if held_out is None else asdict(held_out.counts),
    }
