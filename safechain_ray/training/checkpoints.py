"""The folder of a training run: whose checkpoints lie there, and which of them are whole."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safechain_ray.errors import RunConflictError

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
