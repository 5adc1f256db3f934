"""What a user chooses of a training: AdamW on all weights or by adapters, its schedule, its checkpoints."""

from typing import Literal

from pydantic import ConfigDict, Field

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
