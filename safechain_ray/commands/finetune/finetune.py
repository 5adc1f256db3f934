"""Fine-tuning: demonstrations become tokens, workers learn them together, and the model lies in the output."""

from dataclasses import asdict, dataclass
from typing import Any

import ray

from safechain_ray.cluster.session import cluster_address, ray_session, view_cluster, view_local
from safechain_ray.cluster.training.events import Finished, start_board
from safechain_ray.cluster.training.run import Workers, run_training
from safechain_ray.cluster.training.worker import TrainingTask
from safechain_ray.commands.finetune.data_plan import DataPlan, plan_data
from safechain_ray.commands.finetune.log import TrainingLog
from safechain_ray.commands.finetune.observer import TrainingObserver
from safechain_ray.commands.finetune.packages import check_packages
from safechain_ray.commands.finetune.plan import TrainingPlan, check_training, plan_training
from safechain_ray.commands.finetune.record import FinetuneRecord
from safechain_ray.commands.finetune.resolve import (
    Lessons,
    Trainee,
    finetune_identity,
    resolve_lessons,
    resolve_trainee,
)
from safechain_ray.config import FinetuneConfig
from safechain_ray.runs.output import held_output
from safechain_ray.storage import Folder, without_secrets
from safechain_ray.training.checkpoint_store import MODEL


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How it ended: the folder, and its record as finetune.json has it."""

    folder: Folder
    record: dict[str, Any]

    @property
    def model(self) -> Folder:
        return self.folder / MODEL


def plan_finetune(config: FinetuneConfig) -> tuple[Trainee, TrainingPlan, DataPlan]:
    """What `finetune` would take on this cluster, and what it would learn."""
    trainee = resolve_trainee(config.model)
    data = plan_data(config, trainee)
    if cluster_address(config.resources.ray_address) is None:
        return trainee, plan_training(config, trainee, view_local()), data
    with ray_session(config.resources.ray_address):
        return trainee, plan_training(config, trainee, view_cluster(config.resources)), data


def finetune(config: FinetuneConfig, observer: TrainingObserver) -> FineTuning:
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
    with held_output(config.output, config.resources, observer) as held:
        folder = held.folder
        facts = {"training_set": _facts(lessons)}
        record = FinetuneRecord.opened(folder, identity, without_secrets(config.model_dump(mode="json")), facts)
        if record.is_finished and folder.exists(f"{MODEL}/config.json"):
            observer.say("The training is finished already: no worker is started.")
            return FineTuning(folder, record.content)
        columns = ", ".join(lessons.source.columns.values())
        observer.say(f"{lessons.source.source} (columns {columns}): {lessons.learnt.counts.sentence}")
        outcome = _trained(config, trainee, lessons, folder, record, observer)
        record.finished(outcome)
        return FineTuning(folder, record.content)


def _trained(
    config: FinetuneConfig,
    trainee: Trainee,
    lessons: Lessons,
    folder: Folder,
    record: FinetuneRecord,
    observer: TrainingObserver,
) -> Finished:
    resources = config.resources
    with ray_session(resources.ray_address, observer.say) as log_folder:
        view = view_cluster(resources)
        plan = check_training(config, trainee, view)
        for note in plan.notes:
            observer.say(note)
        record.started(plan, view)
        log = TrainingLog(folder, record, observer)
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
            patience=resources.storage_patience_minutes * 60,
            board=start_board(),
        )
        workers = Workers(
            count=plan.workers,
            on_gpus=plan.device == "cuda",
            cpus=resources.cpus_per_worker,
            accelerator=resources.accelerator,
            max_deaths=resources.max_worker_deaths,
            stall_seconds=resources.stall_timeout_minutes * 60,
        )
        observer.say(f"{plan.workers} workers start. Their logs: {log_folder}")
        failure: BaseException | None = None
        try:
            return run_training(task, workers, log_folder, log.hear, observer.say)
        except BaseException as error:
            failure = error
            raise
        finally:
            log.close()
            record.ended(failure)


def _facts(lessons: Lessons) -> dict[str, Any]:
    held_out = lessons.held_out
    return {
        "source": lessons.source.source,
        "fingerprint": lessons.source.fingerprint,
        "columns": dict(lessons.source.columns),
        "rows_left_out": dict(lessons.source.left_out),
        "learnt": asdict(lessons.learnt.counts),
        "held_out": None if held_out is None else asdict(held_out.counts),
    }
