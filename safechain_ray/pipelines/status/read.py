"""Reads how far a run or a sweep is from its folder, wherever that is: joins no Ray and writes nothing."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from safechain_ray.errors import InputError
from safechain_ray.pipelines.runs.run_kind import Kind
from safechain_ray.pipelines.status.status import RunStatus, run_status, sentence, swept_status
from safechain_ray.storage import Folder, open_folder

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


def read_status(uri: str) -> FolderStatus:
    """The status of the run or sweep in the folder `uri`.

    Raises InputError where there is neither, and StorageError where the folder can't be read.
    """
    folder = open_folder(uri)
    now = datetime.now(UTC)
    swept = _read(folder, "sweep.json")
    if swept is not None:
        return FolderStatus(str(folder), "sweep", now, _models(folder, swept, now))
    run = _read(folder, "run.json")
    if run is None:
        raise InputError(
            f"{folder} holds no run and no sweep: there is neither run.json nor sweep.json. Give the folder that "
            "--output named."
        )
    status = _run_status(folder, run, now)
    return FolderStatus(str(folder), status.kind, now, (status,))


def _models(folder: Folder, swept: Mapping[str, Any], now: datetime) -> tuple[RunStatus, ...]:
    try:
        models = [(each, folder / str(each.get("folder", each["model"]))) for each in swept["models"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}/sweep.json is no sweep's: {error!r}.") from error

    ended = swept.get("ended") is not None

    def status(model: tuple[Mapping[str, Any], Folder]) -> RunStatus:
        record, place = model
        try:
            run = _read(place, "run.json")
            return swept_status(record, None if run is None else _run_status(place, run, now), ended)
        except InputError as error:
            # One damaged folder must not hide the other models.
            return swept_status({"error": sentence(str(error)), **record}, None)

    with ThreadPoolExecutor(READERS) as readers:
        return tuple(readers.map(status, models))


def _run_status(folder: Folder, run: Mapping[str, Any], now: datetime) -> RunStatus:
    try:
        return run_status(run, now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder}/run.json is no run's, or of another version: {error!r}.") from error


def _read(folder: Folder, name: str) -> Mapping[str, Any] | None:
    if not folder.exists(name):
        return None
    try:
        tree = json.loads(folder.read_text(name))
    except ValueError as error:
        raise InputError(f"{folder}/{name} is no valid JSON ({error}).") from error
    if not isinstance(tree, dict):
        raise InputError(f"{folder}/{name} is no run's and no sweep's: it holds no keys.")
    return tree
