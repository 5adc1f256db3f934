"""One worker of a training on Ray: gets the last checkpoint, trains with the others, brings what must survive away."""

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
    Began,
    Failed,
    Finished,
    Logged,
    Phase,
    Said,
    Stepped,
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
    """What every worker gets. `learnt` and `held_out` are references to TokenisedSet; `board` is the news' actor.

    `training` is the hash of the training's identity, by which its checkpoints are known.
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
    patience: float
    board: Any

    def tell(self, news: TrainingEvent) -> None:
        self.board.tell.remote(news)


def work(config: dict[str, TrainingTask]) -> None:
    """The function that Ray Train calls in every worker. What it raises has been told before, as a sentence."""
    task = config["task"]
    processes = Processes.of_environment()
    try:
        _work(task, processes)
    except Exception as error:
        known = _known(error)
        ray.get(task.board.tell.remote(Failed(processes.rank, _first_line(known or error), known)))
        raise


def _work(task: TrainingTask, processes: Processes) -> None:
    from safechain_ray.training.chat import ChatFormat
    from safechain_ray.training.trainer import Hooks, TrainingJob, train

    def tell(news: TrainingEvent) -> None:
        if processes.is_first:
            task.tell(news)

    tell(Phase("loading the model"))
    model = weights_location(task.model)
    chat = ChatFormat(load_tokenizer(model, task.revision), task.family, task.chat_template)
    scratch = _scratch(task)
    learnt, held_out = ray.get([task.learnt, task.held_out])
    job = TrainingJob(model, chat, learnt, held_out, scratch, task.options, task.revision)
    output = task.output.with_retry(task.patience, lambda sentence: tell(Said(sentence)))
    store = CheckpointStore(output, task.training, task.options.keep_checkpoints)
    if processes.local_rank == 0:
        _put_in_place(store, job)
    processes.wait()
    tell(_began(job))

    def saved(checkpoint: Path) -> None:
        step = int(checkpoint.name.rpartition("-")[2])
        tell(Phase(f"uploading the checkpoint of step {step}"))
        store.put(checkpoint, step, processes)
        if processes.is_first:
            store.put_logs(scratch)
        tell(Phase(TRAINING))

    hooks = Hooks(
        logged=lambda values: tell(Logged(values)), stepped=lambda step, steps: tell(Stepped(step, steps)), saved=saved
    )
    outcome = train(job, hooks)
    if processes.is_first:
        tell(Phase("uploading the model"))
        store.put_model(outcome.model)
        store.put_logs(scratch)
    processes.wait()
    if processes.local_rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)
    if processes.is_first:
        done = Finished(outcome.steps, outcome.loss, outcome.evaluation_loss, outcome.tokens, outcome.seconds)
        ray.get(task.board.tell.remote(done))


def _scratch(task: TrainingTask) -> Path:
    """One folder a node, for all its workers; the same when they start again."""
    name = short_hash(task.training, bare_uri(task.output.uri))
    return Path(task.scratch or tempfile.gettempdir()).expanduser() / f"safechain-ray-training-{name}"


def _put_in_place(store: CheckpointStore, job: Any) -> None:
    """Empty the scratch folder, and bring the last whole checkpoint there if there is one."""
    from safechain_ray.training.shard_pickles import check_shards
    from safechain_ray.training.trainer import trains_in_shards

    shutil.rmtree(job.output, ignore_errors=True)
    claim(job.output, job.identity)
    checkpoint = store.newest()
    if checkpoint is not None:
        local = job.output / f"checkpoint-{checkpoint.step}"
        store.fetch(checkpoint, local, trains_in_shards())
        check_shards(local)


def _began(job: Any) -> Began:
    checkpoint = last_checkpoint(job.output)
    if checkpoint is None:
        return Began(0, ())
    state = json.loads((checkpoint.path / STATE).read_text(encoding="utf-8"))
    return Began(checkpoint.step, tuple(state["log_history"]))


def _known(error: Exception) -> SafechainError | None:
    """The error with its fix, where it is known; None for what another worker's death may have caused."""
    import torch

    if isinstance(error, SafechainError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return SafechainError(
            "A GPU's memory did not suffice. Lower max_length, take more workers, turn gradient_checkpointing on, or "
            f"train adapters (training.lora); finetune --plan shows what takes how much. {_first_line(error)}"
        )
    return None


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "")
    return line if isinstance(error, SafechainError) else f"{type(error).__name__}: {line}"
