"""Local folder of a training: the training's identity, and detection of its last complete checkpoint.

The identity contains everything that changes the trained weights, and nothing else. A folder is resumed only by a
training of the same identity.
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
"""Written last by transformers: a checkpoint without it is incomplete."""

OPTIONS_WITHOUT_EFFECT = {
    "log_every",
    "evaluate_every",
    "save_every",
    "keep_checkpoints",
    "report_to",
    "gradient_checkpointing",
}
"""Options that change no weight: trackers, logs, checkpoints, and recomputation to save memory."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint after `step` steps."""

    path: Path
    step: int


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest complete checkpoint in `folder`. Partial checkpoints of a killed process are ignored."""
    found = [
        Checkpoint(path, int(match[1]))
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and _is_whole(path)
    ]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Record `folder` as the folder of the training with this identity (a JSON object).

    Raises:
        RunConflictError: the folder belongs to another training (the message shows the differences), or contains
            checkpoints of unknown origin.
    """
    record = folder / RECORD
    if not record.exists():
        if any(folder.glob("checkpoint-*")):
            raise RunConflictError(
                f"{folder} contains checkpoints but no {RECORD}: they are of an unknown run. Fix: name an empty folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{RECORD}.{os.getpid()}"  # all processes of a run write this file at the same time
        partial.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        partial.replace(record)
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
            f"{folder} contains a training with other settings:{''.join(different)}\n"
            "Fix: use the same settings to resume it, or name another folder."
        )


def _is_whole(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(state, dict) and isinstance(state.get("log_history"), list)


def tokens_hash(tokens: TokenisedSet) -> str:
    """A hash of the token ids of all examples in their order."""
    return short_hash(*(example.input_ids.tobytes() for example in tokens.examples))


def training_identity(
    model: str, revision: str | None, learnt: TokenisedSet, options: TrainingOptions
) -> dict[str, Any]:
    """The identity as a JSON object. It excludes the number of processes, which share the same steps."""
    return {
        "model": model,
        "revision": revision,
        "tokens": tokens_hash(learnt),
        "max_length": learnt.max_length,
        **options.model_dump(mode="json", exclude=OPTIONS_WITHOUT_EFFECT),
    }
