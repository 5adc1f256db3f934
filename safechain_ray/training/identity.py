"""What a training is: all that changes the weights that come out of it, and nothing else."""

from typing import Any

from safechain_ray.config.training import TrainingOptions
from safechain_ray.training.tokens import TokenisedSet
from safechain_ray.types import short_hash

SAID_OF_TRAINING = {
    "log_every",
    "evaluate_every",
    "save_every",
    "keep_checkpoints",
    "report_to",
    "gradient_checkpointing",
}
"""Options that change no weight: trackers, logs, checkpoints, and memory bought with time."""


def tokens_hash(tokens: TokenisedSet) -> str:
    """The same for the same examples in the same order."""
    return short_hash(*(example.input_ids.tobytes() for example in tokens.examples))


def training_identity(
    model: str, revision: str | None, learnt: TokenisedSet, options: TrainingOptions
) -> dict[str, Any]:
    """As JSON can hold it. The number of processes is not in it: they share the same steps."""
    return {
        "model": model,
        "revision": revision,
        "tokens": tokens_hash(learnt),
        "max_length": learnt.max_length,
        **options.model_dump(mode="json", exclude=SAID_OF_TRAINING),
    }
