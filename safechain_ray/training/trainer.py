"""Training loop of one process (TRL's SFTTrainer over packed tokens), with resume and export of the trained model.

Several processes that each call `train` train one model together: transformers finds the group in the environment. On
GPUs the weights, gradients and AdamW's states are sharded over the processes (FSDP 2). On CPUs each process has a
full copy (DDP). A training resumes from the last complete checkpoint of its folder.

The exported model is a folder that vLLM and transformers load: plain weights, the tokenizer and its chat template.
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import datasets
import torch
import transformers
from accelerate.utils import enable_fsdp_ram_efficient_loading
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from safechain_ray.config.commands import LoraOptions, TrainingOptions
from safechain_ray.errors import InputError
from safechain_ray.model_files import load_config, load_weights
from safechain_ray.training.chat import ChatFormat
from safechain_ray.training.checkpoints import claim, last_checkpoint, training_identity
from safechain_ray.training.disk_errors import disk_errors_as_storage_errors
from safechain_ray.training.processes import Processes
from safechain_ray.training.tokens import TokenisedSet

METRICS = "metrics.jsonl"

MODEL = "model"


def export_model(model: Any, base: Any, chat: ChatFormat, folder: Path) -> None:
    """Write `model` as `folder` atomically. `base` is the config of the base model.

    The weights get the base's data type, with adapters merged into them. `model` can't be used afterwards. The chat
    template used in training is written to `tokenizer_config.json`. Raises OSError.
    """
    plain = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    tokenizer = deepcopy(chat.tokenizer)
    if chat.chat_template is not None:
        tokenizer.chat_template = chat.chat_template
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    plain.config.use_cache = base.use_cache  # training turns it off
    plain.to(base.dtype or torch.float32).save_pretrained(partial)
    tokenizer.save_pretrained(partial, save_jinja_files=False)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def gathered_weights(model: Any) -> dict[str, Any]:
    """The trained weights of a sharded model, unsharded in the first process's memory; {} in all other processes.

    All processes have to call this.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    return weights


def put_weights(model: Any, weights: dict[str, Any]) -> None:
    """Load gathered weights into a model that is not sharded. Raises ValueError for unknown weight names."""
    unexpected = model.load_state_dict(weights, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"The model has no weights called {', '.join(unexpected[:3])}.")


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train. `model` is a local folder or a Hugging Face id.

    Checkpoints, metrics and the model are written to the folder `output`. `held_out` is for the evaluation loss.
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
        """Everything that changes the trained weights. Trackers, logs and checkpoints don't."""
        return training_identity(self.model, self.revision, self.learnt, self.options)


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Result of a training. Losses are in nats per token: `loss` of the last logged steps, `evaluation_loss` of the
    held-out examples (None without any).
    """

    model: Path
    steps: int
    resumed_from: int
    loss: float
    evaluation_loss: float | None
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of a training.

    `logged` and `stepped` are called in the first process only, `saved` in every process.
    """

    logged: Callable[[Mapping[str, float]], None] = lambda logged: None
    """The trainer's log entries: loss, learning rate, gradient norm, step, epoch, evaluation loss."""
    stepped: Callable[[int, int], None] = lambda step, steps: None
    """Completed steps, and the total number of steps."""
    saved: Callable[[Path], None] = lambda checkpoint: None
    """A checkpoint was written to this folder.

    On another node the folder has only the files of that node's processes.
    """


def train(job: TrainingJob, hooks: Hooks = Hooks()) -> TrainingOutcome:
    """Train from the last complete checkpoint in `job.output`, if there is one. The first process exports the model.

    Raises:
        InputError: the processes can't share a step evenly, or the examples don't fill one step.
        RunConflictError: the folder contains another training.
        StorageError: the folder can't be written.
    """
    started = perf_counter()
    claim(job.output, job.identity)
    checkpoint = last_checkpoint(job.output)
    trainer = _trainer(job, hooks)
    with disk_errors_as_storage_errors(job.output):
        trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
        evaluation_loss = _evaluation_loss(trainer) if job.held_out is not None else None
        _export(trainer, job)
    losses = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    return TrainingOutcome(
        model=job.output / MODEL,
        steps=trainer.state.global_step,
        resumed_from=checkpoint.step if checkpoint else 0,
        loss=losses[-1],
        evaluation_loss=evaluation_loss,
        tokens=_tokens(trainer.state.log_history),
        seconds=perf_counter() - started,
    )


def _tokens(history: list[dict[str, float]]) -> int:
    """Tokens processed since the first step, over all processes and epochs."""
    return max((int(logged["num_tokens"]) for logged in history if "num_tokens" in logged), default=0)


def _export(trainer: Any, job: TrainingJob) -> None:
    base = load_config(job.model, job.revision)
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = gathered_weights(model) if is_sharded(model) else None
    if not Processes.of_environment().is_first:
        return
    if weights is not None:
        model = load_weights(job.model, job.revision, dtype=base.dtype)
        if job.options.lora is not None:
            from peft import get_peft_model

            model = get_peft_model(model, _lora(job.options.lora))
        put_weights(model, weights)
    export_model(model, base, job.chat, job.output / MODEL)


def _evaluation_loss(trainer: Any) -> float:
    """The evaluation loss of the current weights: the logged one of this step, or else evaluated now."""
    logged = [each for each in trainer.state.log_history if "eval_loss" in each]
    last = logged[-1] if logged and logged[-1]["step"] == trainer.state.global_step else trainer.evaluate()
    return float(last["eval_loss"])


def _trainer(job: TrainingJob, hooks: Hooks) -> Any:
    _silence_libraries()
    options = job.options
    arguments = _arguments(job)
    trainer = SFTTrainer(
        model=_model(job),
        args=arguments,
        train_dataset=_dataset(job.learnt),
        eval_dataset=_dataset(job.held_out) if job.held_out is not None else None,
        processing_class=job.chat.tokenizer,
        peft_config=_lora(options.lora) if options.lora is not None else None,
        callbacks=[LoggingCallback(job.output / METRICS, hooks)],
    )
    trainer.remove_callback(PrinterCallback)
    sequences = len(trainer.train_dataset)
    if sequences < options.sequences_a_step:
        raise InputError(
            f"The {job.learnt.counts.examples:,} examples fill {sequences} packed sequences of "
            f"{job.learnt.max_length:,} tokens, and a step takes {options.sequences_a_step}. Fix: lower "
            "sequences_a_step or max_length, or give more rows."
        )
    return trainer


def _silence_libraries() -> None:
    """Silence the libraries' warnings and progress bars: the user's output comes from `report`.

    TRL warns that packing needs Flash Attention. Since transformers 5 other attention kernels separate packed examples
    by their positions too, which tests/unit/training/test_packed_examples.py checks.
    """
    logging.getLogger("trl.trainer.sft_trainer").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def _model(job: TrainingJob) -> Any:
    """The base model.

    Trained weights are float32 at any precision; frozen weights under adapters have the computation's.
    """
    only_read = job.options.lora is not None and job.options.precision == "bfloat16"
    flash = torch.cuda.is_available() and is_flash_attn_2_available()
    return load_weights(
        job.model,
        job.revision,
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
        logging_steps=options.log_every,
        logging_first_step=True,
        eval_strategy="steps" if job.held_out is not None else "no",
        eval_steps=options.evaluate_every,
        save_strategy="steps",
        save_steps=options.save_every,
        save_total_limit=options.keep_checkpoints,
        seed=options.seed,
        report_to=list(options.report_to) or "none",
        **_sharding(options),
        disable_tqdm=True,
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
    )
    processes = arguments.world_size
    if options.sequences_a_step % processes:
        raise InputError(
            f"sequences_a_step is {options.sequences_a_step}, which {processes} processes can't share evenly. Fix: "
            f"make it a multiple of {processes}."
        )
    # One packed sequence per batch: the attention mask grows with the square of the batch's length.
    arguments.gradient_accumulation_steps = options.sequences_a_step // processes
    return arguments


def trains_in_shards() -> bool:
    """Whether each process holds only a shard of the model.

    accelerate (1.15) has no FSDP on CPUs and ignores the setting silently, so on CPUs each process has a copy (DDP).
    """
    return torch.cuda.is_available() and Processes.of_environment().count > 1


def _sharding(options: TrainingOptions) -> dict[str, Any]:
    """FSDP 2 over several processes: each layer is gathered while it computes, and freed afterwards.

    Checkpoints are sharded: each process writes and reads its own part, and another number of processes may resume. The
    weights are read by the first process of a node only, which sends them to the others.
    """
    if not trains_in_shards():
        return {"gradient_checkpointing": options.gradient_checkpointing}
    enable_fsdp_ram_efficient_loading()  # must be set before the weights are read
    settings = {"version": 2, "state_dict_type": "SHARDED_STATE_DICT", "cpu_ram_efficient_loading": True}
    # accelerate's activation checkpointing gathers each layer once less than transformers'. But with it adapters are
    # not found in a checkpoint and silently start from zero (1.15).
    by_accelerate = options.gradient_checkpointing and options.lora is None
    settings |= {"activation_checkpointing": by_accelerate}
    by_transformers = options.gradient_checkpointing and not by_accelerate
    return {"fsdp": True, "fsdp_config": settings, "gradient_checkpointing": by_transformers}


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


class LoggingCallback(TrainerCallback):  # type: ignore[misc]
    """Writes all log entries as JSON Lines and calls the hooks. A resumed training has its earlier entries too."""

    def __init__(self, path: Path, hooks: Hooks) -> None:
        self._path = path
        self._hooks = hooks

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        lines = "".join(json.dumps(logged) + "\n" for logged in state.log_history)
        self._path.write_text(lines, encoding="utf-8")
        self._hooks.logged(state.log_history[-1])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._hooks.stepped(state.global_step, state.max_steps)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._hooks.saved(Path(args.output_dir) / f"checkpoint-{state.global_step}")
