"""sweep.json: the models of a sweep, and the status of each."""

import json
from collections.abc import Container, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, StrictStr, model_validator

from safechain_ray.storage import Folder, InsideName, read_record, redact
from safechain_ray.storage.records import Count, Stored

SWEEP_FILE = "sweep.json"

SWEEP_FIX = "restore sweep.json from a copy; to sweep again, give another --output."

Status = Literal["queued", "running", "done", "failed"]


def _known_status(status: Any) -> Any:
    """A status of another version counts as queued: the next command opens the run and finds what is left."""
    return status if status in get_args(Status) else "queued"


class SweptModel(Stored):
    """The status of one model of a sweep.

    `folder` is that of its run, below the sweep's. `error` is the reason of the latest failure. `attempts` counts the
    starts of its run in the sweep's latest command. `left_out`: that command named other models only.
    """

    model: StrictStr
    folder: InsideName
    status: Annotated[Status, BeforeValidator(_known_status)] = "queued"
    error: StrictStr | None = None
    errors_in_samples: Count = 0
    attempts: Annotated[Count, BeforeValidator(lambda count: count or 0)] = Field(default=0, alias="tries")
    left_out: bool = False

    @model_validator(mode="before")
    @classmethod
    def _with_folder(cls, stored: Any) -> Any:
        """Earlier versions wrote no folder: it had the model's name."""
        return {"folder": stored.get("model"), **stored} if isinstance(stored, dict) else stored


class SweepFile(Stored):
    """The content of sweep.json. `ended`: the end of the latest command, None while it runs."""

    ended: StrictStr | None = None
    models: tuple[SweptModel, ...]


def read_sweep_file(folder: Folder) -> SweepFile:
    """The folder's sweep.json. Raises InputError for a file that is no record of a sweep."""
    return read_record(folder, SWEEP_FILE, SweepFile, "record of a sweep", SWEEP_FIX)


class SweepRecord:
    """The sweep.json of a folder, written anew at each change, so that a killed driver leaves the last one."""

    def __init__(self, folder: Folder, models: dict[str, SweptModel]) -> None:
        self._folder = folder
        self._models = models
        self._ended: datetime | None = None

    @classmethod
    def opened(cls, folder: Folder, names: Iterable[str], wanted: Container[str]) -> "SweepRecord":
        """The record of the sweep's models, with the status that an earlier command left; `wanted` are not left out.

        A model that was running when its driver died is queued again. Raises InputError for another sweep.json.
        """
        earlier = swept_models(folder)
        models = {}
        for name in names:
            model = earlier.get(name) or SweptModel(model=name, folder=name)
            cut = {"status": "queued"} if model.status == "running" else {}
            models[name] = model.model_copy(update={**cut, "attempts": 0, "left_out": name not in wanted})
        record = cls(folder, models)
        record._write()
        return record

    @property
    def models(self) -> tuple[SweptModel, ...]:
        return tuple(self._models.values())

    def __getitem__(self, name: str) -> SweptModel:
        return self._models[name]

    def started(self, name: str) -> None:
        self._change(name, status="running", attempts=self._models[name].attempts + 1)

    def queued(self, name: str, error: str | None = None) -> None:
        """The model waits; with `error` for another attempt."""
        self._change(name, status="queued", error=None if error is None else redact(error))

    def done(self, name: str, errors_in_samples: int) -> None:
        self._change(name, status="done", error=None, errors_in_samples=errors_in_samples)

    def failed(self, name: str, error: str) -> None:
        self._change(name, status="failed", error=redact(error))

    def end(self) -> None:
        """The command ends. Queued models stay queued until there is another command."""
        self._ended = datetime.now(UTC)
        self._write()

    def _change(self, name: str, **fields: Any) -> None:
        self._models[name] = self._models[name].model_copy(update=fields)
        self._write()

    def _write(self) -> None:
        ended = None if self._ended is None else self._ended.isoformat(timespec="seconds")
        models = [model.model_dump(by_alias=True) for model in self._models.values()]
        self._folder.write_text(SWEEP_FILE, json.dumps({"ended": ended, "models": models}, indent=2) + "\n")


def swept_models(folder: Folder) -> dict[str, SweptModel]:
    """The models in a folder's sweep.json; none where there is no such file. Raises InputError for another's file."""
    return {each.model: each for each in read_sweep_file(folder).models} if folder.exists(SWEEP_FILE) else {}
