"""Checkpoints of a training in its output, which may be an object store: each is whole, or passed over.

Every process uploads its share of the files that lie on its node. When all have, the first one writes the manifest,
which names every file with its size: without it a checkpoint is not there. Older ones go once a newer one is whole.
"""

import json
import re
import shutil
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated

from annotated_types import Ge
from pydantic import AfterValidator

from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.storage import FileFacts, Folder, InsideName, read_record
from safechain_ray.training.processes import Processes

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
MODEL = "model"
LOGS = "runs"
"""Where transformers has TensorBoard write."""

SHARD = ".distcp"
"""What torch calls the parts that processes write each of its own."""

LAST_OF_MODEL = "config.json"
"""Uploaded after all other files of a model: without it no engine takes the folder for one."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a checkpoint; `name` counts from the checkpoint's folder."""

    name: InsideName
    size: Annotated[int, Ge(0)]


def _apart(files: tuple[StoredFile, ...]) -> tuple[StoredFile, ...]:
    """Raises ValueError for a path that is there twice, or is a file and a folder at once."""
    paths = sorted(PurePosixPath(file.name) for file in files)
    for one, other in pairwise(paths):
        if one == other or one in other.parents:
            raise ValueError(f"{one} is named twice")
    return files


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A whole checkpoint, made after so many steps of the training `training` by so many processes."""

    step: Annotated[int, Ge(0)]
    training: str
    processes: Annotated[int, Ge(1)]
    files: Annotated[tuple[StoredFile, ...], AfterValidator(_apart)]

    @property
    def is_sharded(self) -> bool:
        return any(file.name.endswith(SHARD) for file in self.files)


@dataclass(frozen=True, slots=True)
class CheckpointStore:
    """The checkpoints and the model of one training, by the hash of its identity; `keep` checkpoints stay.

    Methods raise StorageError, as `Folder` does, RunConflictError for a checkpoint of another training, and InputError
    for a manifest that no training wrote: others may write in a bucket too.
    """

    output: Folder
    training: str
    keep: int

    @property
    def folder(self) -> Folder:
        return self.output / FOLDER

    def newest(self) -> StoredCheckpoint | None:
        """The whole checkpoint of most steps."""
        for step in sorted(self._steps(), reverse=True):
            if (found := self._read(step)) is not None:
                return found
        return None

    def fetch(self, checkpoint: StoredCheckpoint, target: Path, in_shards: bool = False) -> None:
        """Bring the checkpoint to a local folder, which need not exist; several processes must not share it.

        `in_shards` says how those that go on from it train. Raises InputError where they could not read it.
        """
        if checkpoint.training != self.training:
            raise RunConflictError(
                f"{self.folder}/{_name(checkpoint.step)} is a checkpoint of another training (its manifest names "
                f"{checkpoint.training}, this one is {self.training}). Take it out of there, or name another --output."
            )
        place = self.folder / _name(checkpoint.step)
        if checkpoint.is_sharded != in_shards:
            raise InputError(_other_kind(str(place), checkpoint))
        for file in checkpoint.files:
            local = target / file.name
            local.parent.mkdir(parents=True, exist_ok=True)
            place.fetch(FileFacts(file.name, file.size, 0), local)

    def put(self, checkpoint: Path, step: int, processes: Processes) -> None:
        """Upload the local folder `checkpoint` and delete it; all processes have to call it together."""
        place, name = self.folder / _name(step), _name(step)
        if processes.is_first:
            self.folder.delete_folder(name)  # what a killed training left of it
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
        """Upload the exported folder; one process calls it."""
        self.output.delete_folder(MODEL)
        place = self.output / MODEL
        names = sorted(path.name for path in model.iterdir())
        for name in sorted(names, key=lambda name: (name == LAST_OF_MODEL, name)):
            place.upload(model / name, name)

    def put_logs(self, local: Path) -> None:
        """Upload the logs of a tracker on files (TensorBoard) that one process keeps in the folder `local`."""
        for path in sorted(path for path in (local / LOGS).rglob("*") if path.is_file()):
            self.output.upload(path, path.relative_to(local).as_posix())

    def _delete_older(self) -> None:
        """All but the last whole ones. The manifest goes first: what is half deleted is no checkpoint."""
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
        fix = f"take two or more workers on GPUs (it had --workers {count})"
    else:
        found = f"was written whole by {workers}, and workers that share a model on GPUs go on from shards alone"
        fix = "take one worker (--workers 1) or workers on CPUs"
    return f"{place} {found}. To go on from it {fix}. To begin anew name another --output."


def _name(step: int) -> str:
    return f"step-{step:06}"
