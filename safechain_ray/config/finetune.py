"""The config of `finetune`: model, demonstrations, optimizer, LoRA adapters, checkpoints and workers."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from safechain_ray.config.base import Named
from safechain_ray.config.parts import ClusterConfig
from safechain_ray.config.run import OneModel
from safechain_ray.types import StrictNumbers

Tracker = Literal["wandb", "mlflow", "tensorboard"]


class LoraOptions(StrictNumbers):
    """Low-rank adapters (arXiv:2106.09685) on all linear layers but the output, merged into the weights at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0, description="the adapters' product is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)


class TrainingOptions(StrictNumbers):
    """AdamW, a cosine schedule after a warm-up, and packed sequences. A step is one of the optimizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraOptions | None = Field(None, description="None trains all weights")
    epochs: float = Field(2, gt=0)
    learning_rate: float = Field(1e-5, gt=0)
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    sequences_a_step: int = Field(16, ge=1, description="packed sequences in a step, over all processes")
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="of the computation")
    gradient_checkpointing: bool = Field(True, description="less memory for about a third more computation")
    log_every: int = Field(10, ge=1, description="steps")
    evaluate_every: int = Field(100, ge=1, description="steps; at the end in any case")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1)
    seed: int = 0
    report_to: tuple[Tracker, ...] = Field((), description="trackers of transformers")


class TrainingSetConfig(Named):
    """The demonstrations, and which part of their prompts is held out for the evaluation loss."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    file: str | None = Field(None, description="a copy of the catalog's set, read in its place")
    config: str | None = Field(None, description="of a hub set or folder: which config; the only one by default")
    split: str | None = Field(None, description="of a hub set or folder: which split; the only one by default")
    messages_column: str | None = None
    prompt_column: str | None = None
    response_column: str | None = None
    thought_column: str | None = None
    answer_column: str | None = None
    input_column: str | None = Field(None, description="text appended to the prompt; '' for none")
    system_column: str | None = Field(None, description="the system turn; '' for none")
    has_thoughts: bool | None = Field(None, description="false for a control: answers only")
    family: str | None = Field(None, description="the model family in whose tags the thoughts are; r1 by default")
    loss_on: Literal["last", "all"] | None = Field(
        None, description="the assistant turns of a conversation that carry loss; last by default"
    )
    on_bad_row: Literal["refuse", "skip"] = "refuse"
    held_out: float = Field(0.02, ge=0, lt=1, description="share of the prompts that only the evaluation loss sees")

    def columns(self) -> dict[str, Any]:
        """Layout, config and split of the set, as fields of a catalog entry."""
        fields = {
            "config",
            "split",
            "has_thoughts",
            "family",
            "loss_on",
            *(name for name in type(self).model_fields if name.endswith("_column")),
        }
        return self.model_dump(include=fields, exclude_none=True)


class WorkersConfig(ClusterConfig):
    """How the training is laid on the cluster. More workers do the same steps, but for an epoch's last and rounding."""

    workers: int = Field(1, ge=1, description="processes that train together, each on a GPU (or on CPUs) of its own")
    cpus_per_worker: float = Field(2, gt=0)
    scratch: str | None = Field(
        None, description="a folder on each node's own disk, for a checkpoint on its way; the system's temporary one"
    )
    max_worker_deaths: int = Field(
        3, ge=0, description="the workers start again from the last checkpoint after so many deaths among them"
    )


class FinetuneConfig(OneModel):
    """Supervised fine-tuning of one model, on all weights or by adapters (`training.lora`)."""

    training_set: TrainingSetConfig
    max_length: int = Field(16384, ge=8, description="tokens of a packed sequence; longer examples are left out")
    training: TrainingOptions = TrainingOptions()
    output: str = Field(description="the training's folder: a local path or URI")
    resources: WorkersConfig = WorkersConfig()

    @model_validator(mode="after")
    def _shared_evenly(self) -> "FinetuneConfig":
        sequences, workers = self.training.sequences_a_step, self.resources.workers
        if sequences % workers:
            raise ValueError(
                f"training.sequences_a_step is {sequences}, which {workers} workers (resources.workers) can't share "
                f"evenly: make it a multiple of {workers}"
            )
        return self
