"""The folder of a training run: whose checkpoints lie there, and which of them are whole.

What a training is: all that changes the weights that come out of it, and nothing else.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safechain_ray.config.finetune import TrainingOptions
from safechain_ray.errors import RunConflictError
from safechain_ray.training.tokens import TokenisedSet
from safechain_ray.types import short_hash

RECORD = "training.json"

STATE = "trainer_state.json"

"""transformers writes it last: a checkpoint without it was cut off."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint, made after so many steps."""

    path: Path
    step: int


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest whole checkpoint in `folder`; what a kill left half-written is passed over."""
    found = [
        Checkpoint(path, int(match[1]))
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and _is_whole(path)
    ]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make `folder` the place of the run with this identity (whatever JSON can hold).

    Raises RunConflictError where it holds another run, with the difference shown, or checkpoints of unknown origin.
    """
    record = folder / RECORD
    if not record.exists():
        if any(folder.glob("checkpoint-*")):
            raise RunConflictError(
                f"{folder} holds checkpoints but no {RECORD}: they are of an unknown run. Name an empty folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{RECORD}.{os.getpid()}"  # the processes of a run come here together
        unfinished.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(record)
        return
    there = json.loads(record.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(identity))
    different = [
        f"\n  {key}: {there.get(key)!r} there, {wanted.get(key)!r} now"
        for key in sorted({*there, *wanted})
        if there.get(key) != wanted.get(key)
    ]
    if different:
        raise RunConflictError(
            f"{folder} holds the training of something else:{''.join(different)}\n"
            "Take the same settings to go on with it, or name another folder."
        )


def _is_whole(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(state, dict) and isinstance(state.get("log_history"), list)


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
