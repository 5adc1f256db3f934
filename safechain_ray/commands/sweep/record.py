"""sweep.json: which models a sweep has, and how far each is."""

import json
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator

from safechain_ray.storage import Folder, InsideName, read_record, redact

SWEEP_FILE = "sweep.json"

SWEEP_FIX = "restore sweep.json from a copy; to sweep again, give another --output."

Status = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class SweptModel:
    """How far one model of a sweep is. `folder` is its run's, below the sweep's; `error` says why it failed last.

    `tries` counts the starts of its run in the sweep's latest command; `left_out` says that this was told to leave the
    model as it is.
    """

    model: str
    folder: InsideName
    status: Status = "queued"
    error: str | None = None
    errors_in_samples: int = 0
    tries: int = 0
    left_out: bool = False


def _with_folders(models: Any) -> Any:
    """Earlier versions wrote no folder: it had the model's name."""
    if not isinstance(models, list):
        return models
    return [{"folder": each.get("model"), **each} if isinstance(each, dict) else each for each in models]


class _StoredSweep(BaseModel):
    models: Annotated[tuple[SweptModel, ...], BeforeValidator(_with_folders)]


class SweepRecord:
    """The sweep.json of a folder, written anew at each change, so that a killed driver leaves the last one."""

    def __init__(self, folder: Folder, models: dict[str, SweptModel]) -> None:
        self._folder = folder
        self._models = models
        self._ended: datetime | None = None

    @classmethod
    def opened(cls, folder: Folder, names: Iterable[str], wanted: Container[str]) -> "SweepRecord":
        """The record of the sweep's models, with what an earlier command left of them; `wanted` are not left out.

        A model that was at work when its driver died is queued again. Raises InputError for another sweep.json.
        """
        earlier = swept_models(folder)
        models = {name: earlier.get(name, SweptModel(name, name)) for name in names}
        cut = {name: replace(model, status="queued") for name, model in models.items() if model.status == "running"}
        record = cls(
            folder,
            {name: replace(model, tries=0, left_out=name not in wanted) for name, model in (models | cut).items()},
        )
        record._write()
        return record

    @property
    def models(self) -> tuple[SweptModel, ...]:
        return tuple(self._models.values())

    def __getitem__(self, name: str) -> SweptModel:
        return self._models[name]

    def started(self, name: str) -> None:
        self._change(name, status="running", tries=self._models[name].tries + 1)

    def queued(self, name: str, error: str | None = None) -> None:
        """It waits; with `error` for another try."""
        self._change(name, status="queued", error=None if error is None else redact(error))

    def done(self, name: str, errors_in_samples: int) -> None:
        self._change(name, status="done", error=None, errors_in_samples=errors_in_samples)

    def failed(self, name: str, error: str) -> None:
        self._change(name, status="failed", error=redact(error))

    def end(self) -> None:
        """The command ends here, whatever is queued: nothing comes of that before there is another."""
        self._ended = datetime.now(UTC)
        self._write()

    def _change(self, name: str, **fields: Any) -> None:
        self._models[name] = replace(self._models[name], **fields)
        self._write()

    def _write(self) -> None:
        models = [asdict(model) for model in self._models.values()]
        tree = {"ended": self._ended and self._ended.isoformat(timespec="seconds"), "models": models}
        self._folder.write_text(SWEEP_FILE, json.dumps(tree, indent=2) + "\n")


def swept_models(folder: Folder) -> dict[str, SweptModel]:
    """The models in a folder's sweep.json; none where there is no such file. Raises InputError for another's file."""
    if not folder.exists(SWEEP_FILE):
        return {}
    stored = read_record(folder, SWEEP_FILE, _StoredSweep, "record of a sweep", SWEEP_FIX)
    return {model.model: model for model in stored.models}
