"""The training loop of one process: TRL's SFTTrainer over our tokens, packed; goes on from its last checkpoint.

A worker of a distributed run calls `train` as it is: transformers finds its process group by the environment.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import datasets
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PrinterCallback, TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from safechain_ray.errors import InputError, StorageError
from safechain_ray.schema import short_hash
from safechain_ray.training.chat import ChatFormat
from safechain_ray.training.checkpoints import claim, last_checkpoint
from safechain_ray.training.export import export_model
from safechain_ray.training.options import LoraOptions, TrainingOptions
from safechain_ray.training.tokens import TokenisedSet

METRICS = "metrics.jsonl"
MODEL = "model"


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """`model` is a local folder or a Hugging Face id; checkpoints, metrics and the model go into the folder `output`.

    `held_out` is for the evaluation loss.
    """

    model: str
    chat: ChatFormat
    learnt: TokenisedSet
    held_out: TokenisedSet | None
    output: Path
    options: TrainingOptions
    revision: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What changes the weights that come out; trackers, logs and checkpoints don't."""
        said = {"log_every", "evaluate_every", "save_every", "keep_checkpoints", "report_to", "gradient_checkpointing"}
        return {
            "model": self.model,
            "revision": self.revision,
            "tokens": short_hash(*(example.input_ids.tobytes() for example in self.learnt.examples)),
            "max_length": self.learnt.max_length,
            **self.options.model_dump(exclude=said),
        }


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Losses in nats a token: of the last steps that were logged, and of the held-out examples (None without any)."""

    model: Path
    steps: int
    resumed_from: int
    loss: float
    evaluation_loss: float | None
    seconds: float


Report = Callable[[Mapping[str, float]], None]
"""Receives what the trainer logs: loss, learning rate, gradient norm, step, epoch, evaluation loss."""


def train(job: TrainingJob, report: Report = lambda logged: None) -> TrainingOutcome:
    """Train, from the last whole checkpoint in `job.output` where there is one, and export the model.

    Raises InputError for a step that the processes can't share, RunConflictError where the folder holds another
    training, StorageError where it can't be written.
    """
    started = perf_counter()
    claim(job.output, job.identity)
    checkpoint = last_checkpoint(job.output)
    trainer = _trainer(job, report)
    base = AutoConfig.from_pretrained(job.model, revision=job.revision)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
        evaluation_loss = _evaluation_loss(trainer) if job.held_out is not None else None
        export_model(trainer.accelerator.unwrap_model(trainer.model), base, job.chat, job.output / MODEL)
    except OSError as error:
        raise StorageError(
            f"Training stopped: {job.output} can't be written ({error}). Make room there; the same command goes on "
            "from the last whole checkpoint."
        ) from error
    losses = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    return TrainingOutcome(
        model=job.output / MODEL,
        steps=trainer.state.global_step,
        resumed_from=checkpoint.step if checkpoint else 0,
        loss=losses[-1],
        evaluation_loss=evaluation_loss,
        seconds=perf_counter() - started,
    )


def _evaluation_loss(trainer: Any) -> float:
    """Of the weights as they are: what was logged at this step, else evaluated now."""
    logged = [each for each in trainer.state.log_history if "eval_loss" in each]
    last = logged[-1] if logged and logged[-1]["step"] == trainer.state.global_step else trainer.evaluate()
    return float(last["eval_loss"])


def _trainer(job: TrainingJob, report: Report) -> Any:
    _say_nothing()
    options = job.options
    trainer = SFTTrainer(
        model=_model(job),
        args=_arguments(job),
        train_dataset=_dataset(job.learnt),
        eval_dataset=_dataset(job.held_out) if job.held_out is not None else None,
        processing_class=job.chat.tokenizer,
        peft_config=_lora(options.lora) if options.lora is not None else None,
        callbacks=[_Metrics(job.output / METRICS, report)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _say_nothing() -> None:
    """Leave it to `report` what a person sees.

    TRL warns that packing needs Flash Attention. Since transformers 5 other attention too keeps packed examples apart
    by their positions, which tests/unit/training/test_packed_examples.py holds.
    """
    logging.getLogger("trl.trainer.sft_trainer").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def _model(job: TrainingJob) -> Any:
    """All weights are trained in float32 whatever the computation's precision; under adapters they are only read."""
    only_read = job.options.lora is not None and job.options.precision == "bfloat16"
    flash = torch.cuda.is_available() and is_flash_attn_2_available()
    return AutoModelForCausalLM.from_pretrained(
        job.model,
        revision=job.revision,
        dtype=torch.bfloat16 if only_read else torch.float32,
        attn_implementation="flash_attention_2" if flash else "sdpa",
    )


def _arguments(job: TrainingJob) -> Any:
    options = job.options
    on_cpu = not torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(job.output),
        max_length=job.learnt.max_length,
        packing=True,
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        bf16=options.precision == "bfloat16",
        gradient_checkpointing=options.gradient_checkpointing,
        logging_steps=options.log_every,
        logging_first_step=True,
        eval_strategy="steps" if job.held_out is not None else "no",
        eval_steps=options.evaluate_every,
        save_strategy="steps",
        save_steps=options.save_every,
        save_total_limit=options.keep_checkpoints,
        seed=options.seed,
        report_to=list(options.report_to) or "none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
    )
    processes = arguments.world_size
    if options.sequences_a_step % processes:
        raise InputError(
            f"sequences_a_step is {options.sequences_a_step}, which {processes} processes can't share evenly: make it "
            f"a multiple of {processes}."
        )
    # A packed sequence is a batch of its own: the mask of several in a row would have the square of their length.
    arguments.gradient_accumulation_steps = options.sequences_a_step // processes
    return arguments


def _dataset(tokens: TokenisedSet) -> Any:
    return datasets.Dataset(tokens.table())


def _lora(options: LoraOptions) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules="all-linear",
    )


class _Metrics(TrainerCallback):  # type: ignore[misc]
    """Writes all that was logged, a line each, and hands it on. A resumed run brings its earlier lines along."""

    def __init__(self, path: Path, report: Report) -> None:
        self._path = path
        self._report = report

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        lines = "".join(json.dumps(logged) + "\n" for logged in state.log_history)
        self._path.write_text(lines, encoding="utf-8")
        self._report(state.log_history[-1])
