"""Checkpoints of a training: local detection and identity, uploads, downloads and retention in its output.

The identity contains everything that changes the trained weights, and nothing else. A folder is resumed only by a
training of the same identity.

The output may be an object store. Every process uploads its share of the files on its node. When all uploads are
complete, the first process writes the manifest with the name and size of every file. A checkpoint without a manifest
does not count. Older checkpoints are deleted once a newer one is complete.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import AfterValidator

from safechain_ray.config.commands import TrainingOptions
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.storage import FileFacts, Folder, InsideName, read_record
from safechain_ray.training.processes import Processes
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

FOLDER = "checkpoints"

MANIFEST = "manifest.json"

MODEL = "model"

LOGS = "runs"
"""The folder in which transformers lets TensorBoard write."""

SHARD = ".distcp"
"""Suffix of torch's files that hold the part of one process."""

LAST_OF_MODEL = "config.json"
"""Uploaded last: without it no engine takes the folder for a model."""


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


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a checkpoint; `name` is relative to the checkpoint's folder."""

    name: InsideName
    size: Annotated[int, Ge(0)]


def _without_duplicates(files: tuple[StoredFile, ...]) -> tuple[StoredFile, ...]:
    """Raises ValueError for a path listed twice, or listed both as a file and as a folder."""
    paths = sorted(PurePosixPath(file.name) for file in files)
    for one, other in pairwise(paths):
        if one == other or one in other.parents:
            raise ValueError(f"{one} is named twice")
    return files


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The manifest of a complete checkpoint: after `step` steps of the training `training` with so many `processes`."""

    step: Annotated[int, Ge(0)]
    training: str
    processes: Annotated[int, Ge(1)]
    files: Annotated[tuple[StoredFile, ...], AfterValidator(_without_duplicates)]

    @property
    def is_sharded(self) -> bool:
        return any(file.name.endswith(SHARD) for file in self.files)


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """The checkpoints and the model of one training.

    `training` is the hash of its identity; `keep` checkpoints are kept.

    Raises (every method):
        StorageError: as `Folder` does.
        RunConflictError: a checkpoint of another training.
        InputError: an invalid manifest, since others may have write access to a bucket.
    """

    output: Folder
    training: str
    keep: int

    @property
    def folder(self) -> Folder:
        return self.output / FOLDER

    def newest(self) -> StoredCheckpoint | None:
        """The complete checkpoint with the most steps."""
        for step in sorted(self._steps(), reverse=True):
            if (found := self._read(step)) is not None:
                return found
        return None

    def fetch(self, checkpoint: StoredCheckpoint, target: Path, in_shards: bool = False) -> None:
        """Download the checkpoint to a local folder, which need not exist. Each process needs a folder of its own.

        `in_shards` is whether the resuming processes train in shards.

        Raises:
            InputError: the checkpoint is sharded and these processes could not read it, or the other way round.
        """
        if checkpoint.training != self.training:
            raise RunConflictError(
                f"{self.folder}/{_name(checkpoint.step)} is a checkpoint of another training (its manifest names "
                f"{checkpoint.training}, this one is {self.training}). Fix: move it away, or name another --output."
            )
        place = self.folder / _name(checkpoint.step)
        if checkpoint.is_sharded != in_shards:
            raise InputError(_other_kind(str(place), checkpoint))
        for file in checkpoint.files:
            local = target / file.name
            local.parent.mkdir(parents=True, exist_ok=True)
            place.fetch(FileFacts(file.name, file.size, 0), local)

    def put(self, checkpoint: Path, step: int, processes: Processes) -> None:
        """Upload the local folder `checkpoint` and delete it. All processes have to call this together."""
        place, name = self.folder / _name(step), _name(step)
        if processes.is_first:
            self.folder.delete_folder(name)  # files of a killed upload
        processes.wait()
        files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
        mine = files[processes.local_rank :: processes.local_count]
        stored = []
        for path in mine:
            file = StoredFile(path.relative_to(checkpoint).as_posix(), path.stat().st_size)
            place.upload(path, file.name)
            stored.append(file)
        everything = sorted((file for part in processes.gather(stored) for file in part), key=lambda file: file.name)
        if processes.is_first:
            manifest = StoredCheckpoint(step, self.training, processes.count, tuple(everything))
            place.write_text(MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
            self._delete_older()
        processes.wait()
        if processes.local_rank == 0:
            shutil.rmtree(checkpoint, ignore_errors=True)

    def put_model(self, model: Path) -> None:
        """Upload the exported model. Called by one process."""
        self.output.delete_folder(MODEL)
        place = self.output / MODEL
        names = sorted(path.name for path in model.iterdir())
        for name in sorted(names, key=lambda name: (name == LAST_OF_MODEL, name)):
            place.upload(model / name, name)

    def put_logs(self, local: Path) -> None:
        """Upload TensorBoard's log files from the folder `local`. Called by one process."""
        for path in sorted(path for path in (local / LOGS).rglob("*") if path.is_file()):
            self.output.upload(path, path.relative_to(local).as_posix())

    def _delete_older(self) -> None:
        """Delete all but the last `keep` complete checkpoints.

        Manifests first: a partly deleted checkpoint must not count.
        """
        whole = [step for step in sorted(self._steps()) if self._is_whole(step)]
        for step in set(self._steps()) - set(whole[-self.keep :]):
            (self.folder / _name(step)).delete(MANIFEST)
            self.folder.delete_folder(_name(step))

    def _steps(self) -> list[int]:
        matches = (re.fullmatch(r"step-(\d+)", name) for name in self.folder.list_folders())
        return [int(match[1]) for match in matches if match]

    def _is_whole(self, step: int) -> bool:
        return (self.folder / _name(step)).exists(MANIFEST)

    def _read(self, step: int) -> StoredCheckpoint | None:
        place = self.folder / _name(step)
        if not place.exists(MANIFEST):
            return None
        fix = f"delete {place}; the same command then resumes from the checkpoint before it."
        found = read_record(place, MANIFEST, StoredCheckpoint, "manifest of a checkpoint", fix)
        if found.step != step:
            raise InputError(f"{place}/{MANIFEST} is the manifest of step {found.step}. Fix: {fix}")
        return found


def _other_kind(place: str, checkpoint: StoredCheckpoint) -> str:
    count = checkpoint.processes
    workers = f"{count} worker{'s' if count > 1 else ''}"
    if checkpoint.is_sharded:
        found = f"was written in shards by {workers} on GPUs, and this training has one worker or trains on CPUs"
        fix = f"use two or more workers on GPUs (it had --workers {count})"
    else:
        found = f"was written whole by {workers}, and workers that share a model on GPUs can resume only from shards"
        fix = "use one worker (--workers 1) or workers on CPUs"
    return f"{place} {found}. Fix: to resume from it, {fix}; to start over, name another --output."


def _name(step: int) -> str:
    return f"step-{step:06}"
