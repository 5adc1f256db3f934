"""Training worker on Ray: fetches the last checkpoint, trains with the other workers, and uploads checkpoints."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from safechain_ray.catalog.entries import Family
from safechain_ray.cluster.training.events import (
    TRAINING,
    Failed,
    Finished,
    Logged,
    Note,
    Phase,
    Started,
    StepDone,
    TrainingEvent,
)
from safechain_ray.config import TrainingOptions
from safechain_ray.engines.weights import weights_location
from safechain_ray.errors import SafechainError
from safechain_ray.model_files import load_tokenizer
from safechain_ray.storage import Folder, bare_uri
from safechain_ray.training.checkpoints import STATE, CheckpointStore, claim, last_checkpoint
from safechain_ray.training.processes import Processes
from safechain_ray.types import short_hash


@dataclass(frozen=True)
class TrainingTask:
    """Arguments of every worker. `learnt` and `held_out` are references to a TokenisedSet; `event_log` is an actor.

    `training` is the hash of the training's identity, part of its checkpoints' paths. `storage_timeout` is how many
    seconds a worker waits for a store that does not answer.
    """

    model: str
    revision: str | None
    family: Family
    chat_template: str | None
    learnt: Any
    held_out: Any
    options: TrainingOptions
    output: Folder
    training: str
    scratch: str | None
    storage_timeout: float
    event_log: Any

    def report(self, event: TrainingEvent) -> None:
        self.event_log.append.remote(event)


def run_worker(config: dict[str, TrainingTask]) -> None:
    """The function that Ray Train calls in every worker. An error is reported before it is raised."""
    task = config["task"]
    processes = Processes.of_environment()
    try:
        _train(task, processes)
    except Exception as error:
        known = _known(error)
        ray.get(task.event_log.append.remote(Failed(processes.rank, _first_line(known or error), known)))
        raise


def _train(task: TrainingTask, processes: Processes) -> None:
    from safechain_ray.training.chat import ChatFormat
    from safechain_ray.training.trainer import Hooks, TrainingJob, train

    def report(event: TrainingEvent) -> None:
        if processes.is_first:
            task.report(event)

    report(Phase("loading the model"))
    model = weights_location(task.model)
    chat = ChatFormat(load_tokenizer(model, task.revision), task.family, task.chat_template)
    scratch = _scratch(task)
    learnt, held_out = ray.get([task.learnt, task.held_out])
    job = TrainingJob(model, chat, learnt, held_out, scratch, task.options, task.revision)
    output = task.output.with_retry(task.storage_timeout, lambda sentence: report(Note(sentence)))
    store = CheckpointStore(output, task.training, task.options.keep_checkpoints)
    if processes.local_rank == 0:
        _restore_checkpoint(store, job)
    processes.wait()
    report(_started(job))

    def upload(checkpoint: Path) -> None:
        step = int(checkpoint.name.rpartition("-")[2])
        report(Phase(f"uploading the checkpoint of step {step}"))
        store.put(checkpoint, step, processes)
        if processes.is_first:
            store.put_logs(scratch)
        report(Phase(TRAINING))

    hooks = Hooks(
        logged=lambda values: report(Logged(values)),
        stepped=lambda step, steps: report(StepDone(step, steps)),
        saved=upload,
    )
    outcome = train(job, hooks)
    if processes.is_first:
        report(Phase("uploading the model"))
        store.put_model(outcome.model)
        store.put_logs(scratch)
    processes.wait()
    if processes.local_rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)
    if processes.is_first:
        done = Finished(outcome.steps, outcome.loss, outcome.evaluation_loss, outcome.tokens, outcome.seconds)
        ray.get(task.event_log.append.remote(done))


def _scratch(task: TrainingTask) -> Path:
    """The scratch folder of a node, which all its workers share. It stays the same after a restart."""
    name = short_hash(task.training, bare_uri(task.output.uri))
    return Path(task.scratch or tempfile.gettempdir()).expanduser() / f"safechain-ray-training-{name}"


def _restore_checkpoint(store: CheckpointStore, job: Any) -> None:
    """Empty the scratch folder, and download the last whole checkpoint into it."""
    from safechain_ray.training.shard_pickles import check_shards
    from safechain_ray.training.trainer import trains_in_shards

    shutil.rmtree(job.output, ignore_errors=True)
    claim(job.output, job.identity)
    checkpoint = store.newest()
    if checkpoint is not None:
        local = job.output / f"checkpoint-{checkpoint.step}"
        store.fetch(checkpoint, local, trains_in_shards())
        check_shards(local)


def _started(job: Any) -> Started:
    checkpoint = last_checkpoint(job.output)
    if checkpoint is None:
        return Started(0, ())
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    return Started(checkpoint.step, tuple(state["log_history"]))


def _known(error: Exception) -> SafechainError | None:
    """The error with its fix; None for an error that another worker's death may have caused."""
    import torch

    if isinstance(error, SafechainError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return SafechainError(
            f"A GPU ran out of memory: {_first_line(error).rstrip('.')}. `finetune --plan` shows the memory of each "
            "part. Fix: lower max_length, use more workers, turn on gradient_checkpointing, or train adapters "
            "(training.lora)."
        )
    return None


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "")
    return line if isinstance(error, SafechainError) else f"{type(error).__name__}: {line}"
