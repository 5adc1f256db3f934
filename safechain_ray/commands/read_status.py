"""Reads how far a run or a sweep is from its folder, wherever that is: joins no Ray and writes nothing."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, model_validator

from safechain_ray.commands.status import RunStatus, run_status, swept_status
from safechain_ray.commands.sweep.record import SWEEP_FILE, SWEEP_FIX
from safechain_ray.errors import InputError, SafechainError
from safechain_ray.runs.run_kind import Kind
from safechain_ray.runs.stored_run import RUN_FILE, Count, read_stored_run
from safechain_ray.storage import Folder, InsideName, checked_name, open_folder, read_checked_tree

READERS = 16
"""Models read at the same time: an object store answers slowly, but many at once."""


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What a folder holds, as it was read at a time: the models of a sweep in its order, or one run."""

    folder: str
    kind: Kind | Literal["sweep"]
    read: datetime
    models: tuple[RunStatus, ...]

    @property
    def is_over(self) -> bool:
        return all(model.is_over for model in self.models)


class _StoredSwept(BaseModel):
    """A model in sweep.json, from which its status is derived. Earlier versions wrote fewer keys."""

    model: str
    folder: InsideName | None = None
    status: str | None = None
    error: str | None = None
    tries: Count | None = None
    left_out: bool = False

    @model_validator(mode="after")
    def _in_a_folder(self) -> Self:
        checked_name(self.folder or self.model)
        return self


class _StoredSweep(BaseModel):
    ended: str | None = None
    models: tuple[_StoredSwept, ...]


def read_status(uri: str) -> FolderStatus:
    """The status of the run or sweep in the folder `uri`.

    Raises InputError where there is neither, and StorageError where the folder can't be read.
    """
    folder = open_folder(uri)
    now = datetime.now(UTC)
    if folder.exists(SWEEP_FILE):
        swept = read_checked_tree(folder, SWEEP_FILE, _StoredSweep, "record of a sweep", SWEEP_FIX)
        return FolderStatus(str(folder), "sweep", now, _models(folder, swept, now))
    if not folder.exists(RUN_FILE):
        raise InputError(
            f"{folder} holds no run and no sweep: there is neither run.json nor sweep.json. Fix: give the folder that "
            "--output named; if it is this one, restore the file from a copy."
        )
    status = run_status(read_stored_run(folder), now)
    return FolderStatus(str(folder), status.kind, now, (status,))


def _models(folder: Folder, swept: Mapping[str, Any], now: datetime) -> tuple[RunStatus, ...]:
    models = [(each, folder / (each.get("folder") or each["model"])) for each in swept["models"]]
    ended = swept.get("ended") is not None

    def status(model: tuple[Mapping[str, Any], Folder]) -> RunStatus:
        record, place = model
        try:
            own = run_status(read_stored_run(place), now) if place.exists(RUN_FILE) else None
            return swept_status(record, own, ended)
        except SafechainError as error:
            # One damaged folder must not hide the other models.
            return swept_status({**record, "error": str(error)}, None)

    with ThreadPoolExecutor(READERS) as readers:
        return tuple(readers.map(status, models))
