"""The training loop of a process: TRL's SFTTrainer over our tokens, packed; goes on from its last checkpoint.

Several processes, each of which calls `train`, train one model together: transformers finds their group by the
environment. On GPUs the weights, gradients and states of AdamW are sharded over them (FSDP 2), on CPUs each holds all.

The trained model as a folder that vLLM and transformers load: plain weights, the tokenizer and its chat template.
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

from safechain_ray.config.finetune import LoraOptions, TrainingOptions
from safechain_ray.errors import InputError
from safechain_ray.model_files import load_config, load_weights
from safechain_ray.training.chat import ChatFormat
from safechain_ray.training.checkpoints import claim, last_checkpoint, training_identity
from safechain_ray.training.disk_errors import disk_trouble_told
from safechain_ray.training.processes import Processes
from safechain_ray.training.tokens import TokenisedSet


def export_model(model: Any, base: Any, chat: ChatFormat, folder: Path) -> None:
    """Write `model` as `folder`, which is there whole or not at all; `base` is the config of the model it came from.

    The weights get the base's data type; adapters are merged into them. `model` is of no use afterwards. The chat
    template is the one that was trained with, in `tokenizer_config.json`. Raises OSError.
    """
    plain = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    tokenizer = deepcopy(chat.tokenizer)
    if chat.chat_template is not None:
        tokenizer.chat_template = chat.chat_template
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    plain.config.use_cache = base.use_cache  # training turns it off
    plain.to(base.dtype or torch.float32).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished, save_jinja_files=False)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def gathered_weights(model: Any) -> dict[str, Any]:
    """The whole weights of a sharded model in the first process's memory, those that were trained; {} in the others.

    All processes have to call it.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    return weights


def put_weights(model: Any, weights: dict[str, Any]) -> None:
    """Put gathered weights into a model that is not sharded. Raises ValueError for one that has no place."""
    unexpected = model.load_state_dict(weights, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"The model has no weights called {', '.join(unexpected[:3])}.")


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
        return training_identity(self.model, self.revision, self.learnt, self.options)


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Losses in nats a token: of the last steps that were logged, and of the held-out examples (None without any)."""

    model: Path
    steps: int
    resumed_from: int
    loss: float
    evaluation_loss: float | None
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who hears of a training. `logged` and `stepped` are called in the first process alone, `saved` in every one."""

    logged: Callable[[Mapping[str, float]], None] = lambda logged: None
    """What the trainer logs: loss, learning rate, gradient norm, step, epoch, evaluation loss."""
    stepped: Callable[[int, int], None] = lambda step, steps: None
    """After so many steps, of so many."""
    saved: Callable[[Path], None] = lambda checkpoint: None
    """A checkpoint was written into this folder, which on another node holds the files of that node's processes."""


def train(job: TrainingJob, hooks: Hooks = Hooks()) -> TrainingOutcome:
    """Train, from the last whole checkpoint in `job.output` where there is one; the first process exports the model.

    Raises InputError for steps that the processes or the examples can't fill, RunConflictError where the folder holds
    another training, StorageError where it can't be written.
    """
    started = perf_counter()
    claim(job.output, job.identity)
    checkpoint = last_checkpoint(job.output)
    trainer = _trainer(job, hooks)
    with disk_trouble_told(job.output):
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
    """Tokens that went through the model, as often as they did, over all processes and from the first step on."""
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
    """Of the weights as they are: what was logged at this step, else evaluated now."""
    logged = [each for each in trainer.state.log_history if "eval_loss" in each]
    last = logged[-1] if logged and logged[-1]["step"] == trainer.state.global_step else trainer.evaluate()
    return float(last["eval_loss"])


def _trainer(job: TrainingJob, hooks: Hooks) -> Any:
    _say_nothing()
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
            f"{job.learnt.max_length:,} tokens, and a step takes {options.sequences_a_step}: lower sequences_a_step "
            "or max_length, or give more rows."
        )
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
            f"sequences_a_step is {options.sequences_a_step}, which {processes} processes can't share evenly: make it "
            f"a multiple of {processes}."
        )
    # A packed sequence is a batch of its own: the mask of several in a row would have the square of their length.
    arguments.gradient_accumulation_steps = options.sequences_a_step // processes
    return arguments


def trains_in_shards() -> bool:
    """Whether this process holds a part of the model, and the others the rest.

    On CPUs accelerate has no FSDP (1.15 drops the wish without a word), so there each holds a copy (DDP).
    """
    return torch.cuda.is_available() and Processes.of_environment().count > 1


def _sharding(options: TrainingOptions) -> dict[str, Any]:
    """FSDP 2 over several processes: each layer is gathered when it computes, and let go of again.

    Checkpoints are written in shards: each process writes and reads its own part, and another number of them may go on.
    Weights are read by the first process of a node alone, which the others get them from.
    """
    if not trains_in_shards():
        return {"gradient_checkpointing": options.gradient_checkpointing}
    enable_fsdp_ram_efficient_loading()  # has to be said before the weights are read, not only to the trainer
    settings = {"version": 2, "state_dict_type": "SHARDED_STATE_DICT", "cpu_ram_efficient_loading": True}
    # accelerate's own way gathers each layer once less than transformers'. With it, though, adapters are not found in
    # a checkpoint (1.15), and train anew without a word.
    its_own = options.gradient_checkpointing and options.lora is None
    settings |= {"activation_checkpointing": its_own}
    theirs = options.gradient_checkpointing and not its_own
    return {"fsdp": True, "fsdp_config": settings, "gradient_checkpointing": theirs}


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
    """Writes all that was logged, a line each, and tells the hooks. A resumed run brings its earlier lines along."""

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
